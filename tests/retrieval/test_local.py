"""Local language models, tiny and with random weights, made in the test's folder: how they are used, not what they say."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from mumei.core.errors import UsageError  # noqa: E402
from mumei.core.files import write_text  # noqa: E402
from mumei.retrieval.generators import GeneratorTimeout, open_generator  # noqa: E402
from mumei.retrieval.local import TransformersGenerator, _Draw  # noqa: E402
from mumei.testing import check_generator  # noqa: E402

WORDS = "the heart pumps blood through an artery and insulin lowers glucose in what does do LDL cholesterol ? . STOP".split()
PROMPTS = ["the heart pumps blood", "insulin lowers glucose in the blood . what does insulin do ?"]
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}heart {% endif %}"
)


def make_tokenizer(template=None):
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {w: i for i, w in enumerate(["<pad>", "<eos>", "<unk>", *dict.fromkeys(WORDS)])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    made.chat_template = template
    return made


def make_model(folder, kind, template=None):
    tokenizer = make_tokenizer(template)
    size = len(tokenizer) + 5  # more outputs than tokens, as many published models have
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "gpt2":
            config = transformers.GPT2Config(
                vocab_size=size,
                n_positions=64,
                n_embd=16,
                n_layer=2,
                n_head=2,
                eos_token_id=1,
                bos_token_id=1,
                pad_token_id=0,
            )
            network = transformers.GPT2LMHeadModel(config)
        else:
            config = transformers.T5Config(
                vocab_size=size, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, eos_token_id=1, pad_token_id=0,
                decoder_start_token_id=0,
            )  # fmt: skip
            network = transformers.T5ForConditionalGeneration(config)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("gpt2"), "gpt2")


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("t5"), "t5")


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_it_meets_the_protocol(kind, request):
    folder = request.getfixturevalue(kind)
    check_generator(lambda: TransformersGenerator(folder, dtype="float32", device="cpu"))
    assert TransformersGenerator(folder, device="cpu").encoder_decoder is (kind == "t5")


def greedy(generator, prompt, tokens):
    """Greedy decoding by hand, one token at a time, without a cache or a batch."""
    ids = generator._tokenizer(prompt)["input_ids"]
    made = []
    for _ in range(tokens):
        with torch.no_grad():
            if generator.encoder_decoder:
                out = generator._network(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([[0, *made]]))
            else:
                out = generator._network(input_ids=torch.tensor([ids + made]))
        made.append(int(out.logits[0, -1, : len(generator._tokenizer)].argmax()))
        if made[-1] == 1:
            break
    return generator._tokenizer.decode(made, skip_special_tokens=True).strip()


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_greedy_text_in_a_padded_batch_is_the_one_made_alone(kind, request):
    generator = TransformersGenerator(request.getfixturevalue(kind), dtype="float32", device="cpu", stop=())
    expected = [greedy(generator, p, 6) for p in PROMPTS]
    assert generator.generate(PROMPTS, temperature=0, max_tokens=6) == [[text] for text in expected]


def test_noise_draws_from_the_softmax():
    """Frequencies over 4,000 seeds against the softmax: each within four standard errors of a binomial share."""
    scores = torch.tensor([[2.0, 1.0, 0.0, -1.0, 9.0]])
    expected = torch.softmax(scores[0, :4] / 0.7, dim=0).numpy()
    draws = [int(_Draw([seed], 0.7, 1.0, 4)(torch.zeros(1, 1), scores.clone()).argmax()) for seed in range(4000)]
    share = np.bincount(draws, minlength=5) / 4000
    assert share[4] == 0  # no token of the tokenizer
    assert np.all(np.abs(share[:4] - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000))


def test_top_p_leaves_the_smallest_set_that_reaches_it():
    scores = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    for top_p, allowed in ((0.4, {0}), (0.6, {0, 1}), (0.9, {0, 1, 2}), (1.0, {0, 1, 2, 3})):
        draws = {int(_Draw([seed], 1.0, top_p, 4)(torch.zeros(1, 1), scores.clone()).argmax()) for seed in range(300)}
        assert draws == allowed


def test_a_sample_does_not_depend_on_those_beside_it(gpt2):
    generator = TransformersGenerator(gpt2, dtype="float32", device="cpu", batch_size=3)
    options = {"temperature": 1.0, "max_tokens": 10, "seed": 3}
    together = generator.generate(PROMPTS, n=4, **options)
    assert [generator.generate([p], n=4, **options)[0] for p in PROMPTS] == together
    later = generator.generate(PROMPTS, n=2, first=2, **options)
    assert later == [texts[2:] for texts in together]
    assert len(set(together[0])) > 1
    assert generator.generate(PROMPTS, n=4, **{**options, "seed": 4}) != together


def test_a_text_ends_before_a_stop_string(gpt2):
    free = TransformersGenerator(gpt2, dtype="float32", device="cpu", stop=())
    text = free.generate(PROMPTS[:1], max_tokens=12, seed=1)[0][0]
    word = text.split()[3]
    stopped = TransformersGenerator(gpt2, dtype="float32", device="cpu", stop=(word,))
    seen = []
    made = stopped.generate(PROMPTS[:1], max_tokens=12, seed=1, on_text=lambda *given: seen.append(given))
    assert made == [[text[: text.index(word)].strip()]]
    assert seen[0][2].finish == "stop"
    assert len(text[: text.index(word)].split()) < seen[0][2].tokens < 12


def test_rows_that_end_early_do_not_disturb_the_others(gpt2):
    free = TransformersGenerator(gpt2, dtype="float32", device="cpu", stop=())
    texts = free.generate(PROMPTS, n=4, max_tokens=12, seed=1)
    word = texts[0][0].split()[2]
    stopped = TransformersGenerator(gpt2, dtype="float32", device="cpu", stop=(word,))
    assert stopped.generate(PROMPTS, n=4, max_tokens=12, seed=1) == [
        [t.partition(word)[0].strip() for t in row] for row in texts
    ]


def test_cut_texts_and_tokens_are_counted(gpt2):
    generator = TransformersGenerator(gpt2, dtype="float32", device="cpu")
    generator.generate(PROMPTS, max_tokens=2, seed=0)
    assert (len(generator.log), generator.log[0].status, generator.log[0].texts) == (1, "ok", 2)
    assert generator.log[0].prompt_tokens == sum(len(p.split()) for p in PROMPTS)
    assert generator.log[0].completion_tokens <= 4
    assert generator.notes == ["some texts were cut at max_tokens"]
    assert "1 calls (0 failed)" in generator.totals()


def test_the_window(gpt2):
    generator = TransformersGenerator(gpt2, dtype="float32", device="cpu", stop=())
    made = generator.generate(["heart " * 60], max_tokens=50, seed=0)
    assert len(made[0][0].split()) <= 4
    assert "window of 64 tokens leaves less than max_tokens=50" in generator.notes[0]
    with pytest.raises(UsageError, match=r"prompt 1 has 64 tokens; .* holds 64, the text included"):
        generator.generate(["heart", "heart " * 64])


def test_an_empty_prompt(gpt2, t5):
    for folder in (gpt2, t5):
        made = TransformersGenerator(folder, dtype="float32", device="cpu").generate([""], max_tokens=3)
        assert isinstance(made[0][0], str)


def test_a_chat_template_is_used_where_there_is_one(tmp_path, gpt2):
    folder = make_model(tmp_path / "chat", "gpt2", TEMPLATE)
    generator = TransformersGenerator(folder, dtype="float32", device="cpu", system="the blood")
    plain = TransformersGenerator(gpt2, dtype="float32", device="cpu")
    assert (generator.chat, plain.chat) == (True, False)
    written = "system : the blood user : insulin heart"
    expected = TransformersGenerator(folder, dtype="float32", device="cpu", chat=False).generate(
        [written], temperature=0, max_tokens=6
    )
    assert generator.generate(["insulin"], temperature=0, max_tokens=6) == expected
    with pytest.raises(UsageError, match="has no chat template"):
        TransformersGenerator(gpt2, chat=True)
    with pytest.raises(UsageError, match="a system message needs a chat template"):
        TransformersGenerator(gpt2, system="x")


def test_the_deadline_keeps_what_is_finished(gpt2):
    generator = TransformersGenerator(gpt2, dtype="float32", device="cpu", batch_size=1, stop=())
    seen = []
    with pytest.raises(GeneratorTimeout, match=r"the deadline of 0\.\d+ s has passed\. \d+ of 3000 texts") as caught:
        generator.generate(PROMPTS[:1], n=3000, max_tokens=5, deadline=0.4, on_text=lambda *made: seen.append(made))
    assert 0 < len(caught.value.finished[0]) == len(seen) < 3000
    assert generator.log[-1].status in ("timeout", "ok")


def test_global_randomness_is_left_alone(gpt2):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    TransformersGenerator(gpt2, device="cpu").generate(PROMPTS, max_tokens=4)
    assert torch.equal(before, torch.get_rng_state())


def test_names_tell_models_apart(gpt2, t5, tmp_path):
    names = [TransformersGenerator(f, dtype="float32", device="cpu").name for f in (gpt2, t5)]
    assert names[0] != names[1]
    assert open_generator(f"local:{gpt2}").name.startswith("local:gpt2")
    other = make_model(tmp_path / gpt2.name, "gpt2")
    network = transformers.AutoModelForCausalLM.from_pretrained(other)
    with torch.no_grad():
        network.transformer.wte.weight[0, 0] += 1
    network.save_pretrained(other)
    assert TransformersGenerator(other, dtype="float32", device="cpu").name != names[0]


@pytest.mark.parametrize(
    "wrong",
    [{"dtype": "float8"}, {"stop": "x"}, {"stop": ("",)}, {"top_p": 0}, {"top_p": 1.5}, {"batch_size": 0}],
)
def test_arguments_that_are_not_allowed(wrong, gpt2):
    with pytest.raises(UsageError, match=f"{next(iter(wrong))}=.* is not allowed"):
        TransformersGenerator(gpt2, **wrong)


def test_a_folder_without_a_model(tmp_path, monkeypatch, gpt2):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match="no language model at"):
        TransformersGenerator(tmp_path)
    write_text(tmp_path / "config.json", (gpt2 / "config.json").read_text(encoding="utf-8"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        write_text(tmp_path / name, (gpt2 / name).read_text(encoding="utf-8"))
    # Weights in a pickle are not read.
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UsageError, match="safetensors"):
        TransformersGenerator(tmp_path)


def test_a_search_with_a_local_model_makes_nothing_the_second_time(gpt2, tmp_path):
    from toys import ToyMaterial

    from mumei.retrieval.generation_store import CachedGenerator, GenerationStore
    from mumei.retrieval.hyde import Hyde
    from mumei.retrieval.searcher import Searcher

    cached = CachedGenerator(open_generator(f"local:{gpt2}"), GenerationStore(tmp_path))
    searcher = Searcher(ToyMaterial(), generator=cached, mode="on", hyde=Hyde(n=2, max_tokens=12, guard=False))
    first = searcher.search("heart blood")
    assert [bool(g.text) for g in first.generations] == [True, True]
    assert (cached.hits, cached.misses) == (0, 2)
    second = searcher.search("heart blood")
    assert (cached.hits, cached.misses) == (2, 2)
    assert [g.text for g in second.generations] == [g.text for g in first.generations]
    assert [hit["row"] for hit in second.hits] == [hit["row"] for hit in first.hits]
