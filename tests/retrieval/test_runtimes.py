"""OpenVINO and ONNX Runtime against transformers' own BERT, and int8 against float32."""

from __future__ import annotations

import gc
import importlib.util
import json

import numpy as np
import pytest
from text_networks import TEXTS, WIDTH, by_hand, make_bert

from mumei.core.errors import DataError, MissingExtraError, UsageError
from mumei.retrieval import runtimes
from mumei.retrieval.encoders import MiniLMEncoder, text_encoder
from mumei.retrieval.evaluate import mean_ndcg
from mumei.retrieval.runtimes import RUNTIMES, OpenVinoEncoder, random_tokens
from mumei.testing import check_encoder

BOTH = ("openvino", "onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    """One cache for the module's tests."""
    monkeypatch.setenv("MUMEI_CACHE", str(tmp_path_factory.getbasetemp() / "runtimes"))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return make_bert(tmp_path_factory.mktemp("networks") / "bert")


def need(runtime):
    pytest.importorskip(runtime, reason=f"needs the {runtime} extra")
    pytest.importorskip("onnx", reason="graphs are written with onnx")


def cosines(a, b):
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize("runtime", BOTH)
@pytest.mark.parametrize(("pooling", "modules"), [("mean", ()), ("cls", ("Normalize",))])
def test_float32_is_transformers_own(bert, tmp_path, runtime, pooling, modules):
    """Expected: transformers text by text, pooled by hand."""
    need(runtime)
    folder = tmp_path / "model"
    folder.mkdir()
    for file in bert.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps({"pooling_mode": pooling}))
    listed = [{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}]
    (folder / "modules.json").write_text(json.dumps([*listed, *({"path": "", "type": f"x.{m}"} for m in modules)]))
    encoder = RUNTIMES[runtime](folder, dtype="float32", threads=2)
    assert encoder.dim == WIDTH
    assert encoder.normalized == bool(modules)
    expected = by_hand(bert, TEXTS, pooling, normalize=bool(modules))
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=2e-5)
    np.testing.assert_allclose(encoder.encode_queries(TEXTS[:2]), expected[:2], atol=2e-5)


@pytest.mark.parametrize("runtime", BOTH)
@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_other_number_types_meet_the_kit_and_stay_near(bert, runtime, dtype):
    """Bounds: .98 is what int8 is wanted to keep, .999 is bfloat16's with room for other processors."""
    need(runtime)
    if dtype not in RUNTIMES[runtime].dtypes:
        pytest.skip("onnxruntime has no bfloat16 on the CPU")
    check_encoder(lambda: RUNTIMES[runtime](bert, dtype=dtype), TEXTS[:5])
    near = cosines(RUNTIMES[runtime](bert, dtype=dtype).encode(TEXTS), by_hand(bert, TEXTS, "mean", False))
    assert near.min() > (0.98 if dtype == "int8" else 0.999)


@pytest.mark.parametrize("runtime", BOTH)
def test_the_embedded_model_is_the_same_under_another_runtime(runtime):
    need(runtime)
    exact = MiniLMEncoder(dtype="float32").encode(TEXTS)
    encoder = text_encoder("minilm", runtime=runtime, dtype="float32")
    np.testing.assert_allclose(encoder.encode(TEXTS), exact, atol=2e-5)
    assert encoder.name == f"all-MiniLM-L6-v2/float32-{runtime}/256"
    near = cosines(text_encoder(runtime=runtime, dtype="int8").encode(TEXTS), exact)
    assert near.min() > 0.97  # texts of a few words lose most; abstracts keep .99
    assert near.max() < 1 - 1e-6  # it is int8 indeed


@pytest.mark.slow
@pytest.mark.parametrize("runtime", BOTH)
def test_int8_finds_as_well_as_float32(runtime, data_dir):
    """MED: nDCG@10 .7875 in float32; a loss of .005 at most is wanted."""
    need(runtime)
    folder = data_dir / "retrieval/medline"
    docs, queries = ([json.loads(line) for line in (folder / f"{name}.jsonl").open()] for name in ("corpus", "queries"))
    judged: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels.tsv").read_text().splitlines()[1:]:
        query, doc, grade = line.split("\t")
        judged.setdefault(query, {})[doc] = int(grade)
    encoder = text_encoder(runtime=runtime, dtype="int8")
    scores = encoder.encode([q["text"] for q in queries]) @ encoder.encode([d["text"] for d in docs]).T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    run = {q["_id"]: [docs[i]["_id"] for i in row] for q, row in zip(queries, best, strict=True)}
    assert mean_ndcg(run, judged) > 0.7875 - 0.005


def test_graphs_are_kept_and_calibration_is_part_of_the_name(bert, tmp_path, monkeypatch):
    need("openvino")
    made = []
    real = runtimes.OpenVinoEncoder._ranges
    monkeypatch.setattr(OpenVinoEncoder, "_ranges", lambda self: made.append(1) or real(self))
    first = OpenVinoEncoder(bert, dtype="int8", cache=tmp_path)
    vectors = first.encode(TEXTS)
    again = OpenVinoEncoder(bert, dtype="int8", cache=tmp_path)
    np.testing.assert_array_equal(again.encode(TEXTS), vectors)
    assert (len(made), first.name) == (1, again.name)
    own = OpenVinoEncoder(bert, dtype="int8", cache=tmp_path, calibration=TEXTS)
    assert cosines(own.encode(TEXTS), by_hand(bert, TEXTS, "mean", False)).min() > 0.98
    assert len(made) == 2
    assert own.name != first.name
    assert own.spec is None
    assert first.spec == f"{bert}@openvino:int8"
    assert not [p for p in (tmp_path / "networks").iterdir() if p.suffix != ".onnx"]


def test_texts_of_a_folder_are_cut_at_its_positions(bert):
    need("openvino")
    encoder = OpenVinoEncoder(bert, dtype="float32")
    assert encoder.max_tokens == 64
    short = OpenVinoEncoder(bert, dtype="float32", max_tokens=8)
    np.testing.assert_allclose(short.encode(TEXTS), by_hand(bert, TEXTS, "mean", False, cut=8), atol=2e-5)
    with pytest.raises(UsageError, match="64 positions"):
        OpenVinoEncoder(bert, max_tokens=65)


def test_random_calibration_has_special_tokens_around_words():
    from tokenizers import Tokenizer

    from mumei.retrieval.encoders import embedded_model

    tokenizer = Tokenizer.from_file(str(embedded_model() / "tokenizer.json"))
    tokenizer.no_padding()
    first = random_tokens(tokenizer, 50, rounds=2)
    assert [len(t) for t in first] == [4, 8, 16, 32, 50] * 2
    assert all(t[0] == 101 and t[-1] == 102 and min(t[1:-1]) > 998 for t in first)  # [CLS], [SEP]; 1 to 998 are unused
    assert first == random_tokens(tokenizer, 50, rounds=2)


def test_wrong_arguments_are_named(bert, tmp_path, monkeypatch):
    need("openvino")
    need("onnxruntime")
    with pytest.raises(UsageError, match="Did you mean 'bfloat16'"):
        text_encoder(runtime="openvino", dtype="bfloat")
    with pytest.raises(UsageError, match="unknown dtype for onnxruntime 'bfloat16'"):
        text_encoder(runtime="onnxruntime", dtype="bfloat16")
    with pytest.raises(UsageError, match="Did you mean 'openvino'"):
        text_encoder(runtime="open-vino")
    with pytest.raises(UsageError, match="device='cuda'"):
        text_encoder(runtime="openvino", device="cuda")
    with pytest.raises(UsageError, match="needs runtime='openvino'"):
        text_encoder(dtype="int8")
    with pytest.raises(UsageError, match="threads=0"):
        OpenVinoEncoder(bert, threads=0)
    with pytest.raises(UsageError, match="calibration is empty"):
        OpenVinoEncoder(bert, calibration=[])
    (tmp_path / "config.json").write_text('{"model_type": "roberta", "hidden_act": "gelu"}')
    with pytest.raises(DataError, match="roberta"):
        text_encoder(str(tmp_path), runtime="onnxruntime")


@pytest.mark.parametrize("runtime", BOTH)
def test_a_missing_extra_is_named(runtime, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == runtime else real(name, *a))
    with pytest.raises(MissingExtraError, match=rf"pip install 'mumei\[{runtime}\]'"):
        text_encoder(runtime=runtime)


def test_threads_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert runtimes.default_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert runtimes.default_threads() >= 1


def test_a_model_is_freed_while_the_interpreter_is_held(bert):
    """A callback into Python and the garbage collector once waited for each other; the run's time limit ends a hang."""
    need("openvino")
    for _ in range(8):
        encoder = RUNTIMES["openvino"](bert, dtype="float32", threads=2)
        encoder.encode(TEXTS)
        encoder.cycle = encoder  # so that the garbage collector frees it, holding the interpreter's lock
        del encoder
        gc.collect()
