"""Against transformers' ESM on random small networks: logits, attention, contacts; both weight layouts; padding, masking."""

from __future__ import annotations

import argparse

import pytest
import torch

from mumei.core.errors import DataError, UsageError
from mumei.protein.alphabet import AMINO_ACIDS, UNKNOWN, batch
from mumei.protein.models.base import SequenceModel, all_positions
from mumei.protein.models.esm2 import Esm2Model
from mumei.protein.models.esm2_network import EOS, MASK, PAD, VOCABULARY, Esm2, Esm2Shape, attend
from mumei.protein.models.esm2_weights import load_weights, read_torch

transformers = pytest.importorskip("transformers")
SHAPES = [(1, 8, 2, True), (2, 24, 3, True), (3, 32, 4, False)]
SEQUENCES = ["MKTAYIAKQR", "ACDEFGHIKLMNPQRSTVWY", "WY"]


def random_network(layers=2, dim=24, heads=3, token_dropout=True):
    config = transformers.EsmConfig(
        vocab_size=33, hidden_size=dim, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * dim,
        position_embedding_type="rotary", token_dropout=token_dropout, mask_token_id=32, pad_token_id=1, layer_norm_eps=1e-5,
        emb_layer_norm_before=False, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, max_position_embeddings=64,
        is_folding_model=False, attn_implementation="eager",
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(dim)
        network = transformers.EsmForMaskedLM(config).eval()
        for parameter in network.parameters():  # larger than the usual start, so that attention is far from uniform
            torch.nn.init.normal_(parameter, std=0.4)
    return network


@pytest.fixture(params=SHAPES, ids=str)
def theirs(request):
    return random_network(*request.param)


@pytest.fixture
def ours(theirs, tmp_path):
    theirs.save_pretrained(tmp_path / "hf")
    return Esm2Model.load(tmp_path / "hf")


def tokens_of(masked=False):
    rows = [[0, *(VOCABULARY.index(c) for c in s), 2] for s in SEQUENCES]
    width = max(map(len, rows))
    tokens = torch.tensor([row + [PAD] * (width - len(row)) for row in rows])
    if masked:
        tokens[0, 3] = tokens[1, 1] = tokens[1, 7] = tokens[2, 2] = MASK
    return tokens


@pytest.mark.parametrize("masked", [False, True])
def test_logits_and_attention_equal_transformers(theirs, ours, masked):
    tokens = tokens_of(masked)
    real = tokens != PAD
    with torch.no_grad():
        wanted = theirs(tokens, attention_mask=real.long(), output_attentions=True)
        logits = ours.network(tokens)
        maps = list(ours.network.attentions(tokens))
    assert torch.allclose(logits[real], wanted.logits[real], atol=1e-5)
    assert len(maps) == len(wanted.attentions)
    for mine, other in zip(maps, wanted.attentions, strict=True):
        for b, n in enumerate(real.sum(1)):
            assert torch.allclose(mine[b, :, :n, :n], other[b, :, :n, :n], atol=1e-5)
            assert mine[b, :, :n, n:].abs().sum() == 0


def test_what_is_done_without_gradients_is_what_is_done_with_them(ours):
    for tokens in (tokens_of(True), tokens_of(False)):
        with torch.no_grad():
            plain = ours.network(tokens)
        assert torch.allclose(ours.network(tokens), plain, atol=1e-5)


def test_attention_of_bfloat16_is_that_of_float32():
    draw = torch.Generator().manual_seed(1)
    query, key, value = (torch.randn(2, 3, 7, 4, generator=draw).bfloat16() for _ in range(3))
    bias = torch.zeros(2, 1, 1, 7).masked_fill(torch.arange(7) > 4, float("-inf"))
    for hidden in (None, bias):
        with torch.no_grad():
            found = attend(query, key, value, None if hidden is None else hidden.bfloat16())
            wanted = attend(query.float(), key.float(), value.float(), hidden)
        assert torch.allclose(found.float(), wanted, atol=0.03)


def test_one_place_of_the_last_layer_is_the_same(ours):
    tokens, only = tokens_of(True), torch.tensor([3, 7, 2])
    with torch.no_grad():
        assert torch.allclose(ours.network(tokens, only)[:, 0], ours.network(tokens)[torch.arange(3), only], atol=1e-5)


def test_contacts_equal_transformers(theirs, ours):
    from mumei.protein.contacts import ContactHead

    tokens = tokens_of()
    with torch.no_grad():
        wanted = theirs.predict_contacts(tokens, (tokens != PAD).long())
    ids, lengths = batch(SEQUENCES)
    found = ContactHead.of(ours).probability(ours, ids, lengths)
    for b, n in enumerate(lengths):
        alone = theirs.predict_contacts(tokens[b : b + 1, : n + 2], torch.ones(1, int(n) + 2))[0].detach()
        assert torch.allclose(found[b, :n, :n], alone, atol=1e-5)
        assert found[b, n:].abs().sum() == 0
    assert torch.allclose(found[1], wanted[1], atol=1e-5)  # the longest row has no padding there either


def test_masked_logprobs_are_transformers_with_each_place_masked_alone(theirs, ours):
    ids, lengths = batch(SEQUENCES)
    positions = torch.tensor([[0, 9, 3], [19, 5, 5], [1, 0, 1]])
    found = ours.masked_logprobs(ids, positions, lengths)
    own = [VOCABULARY.index(c) for c in AMINO_ACIDS]
    for b, sequence in enumerate(SEQUENCES):
        row = torch.tensor([[0, *(VOCABULARY.index(c) for c in sequence), 2]])
        for k, i in enumerate(positions[b].tolist()):
            masked = row.clone()
            masked[0, i + 1] = MASK
            with torch.no_grad():
                wanted = theirs(masked, attention_mask=torch.ones_like(masked)).logits[0, i + 1, own].log_softmax(-1)
            assert torch.allclose(found[b, k], wanted, atol=1e-5)


def test_a_masked_logprob_does_not_know_the_residue_and_equal_rows_are_computed_once(ours, monkeypatch):
    ids, _ = batch(["ACDEF", "ACWEF", "ACDEF"])
    rows = []
    forward = Esm2.forward
    monkeypatch.setattr(Esm2, "forward", lambda self, t, only=None: rows.append(len(t)) or forward(self, t, only))
    found = ours.masked_logprobs(ids, torch.full((3, 1), 2))
    assert sum(rows) == 1
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert torch.allclose(found.exp().sum(-1), torch.ones(3, 1))


def test_padding_and_splitting_change_nothing(ours):
    ids, lengths = batch(SEQUENCES)
    together = torch.cat(list(ours.pair_maps(ids, lengths)), 1)
    assert together.shape == (3, ours.n_maps, 20, 20)
    ours.batch_tokens = 1
    apart = torch.cat(list(ours.pair_maps(ids, lengths)), 1)
    assert torch.allclose(together, apart, atol=1e-6)
    by_place = ours.masked_logprobs(ids, all_positions(ids).clamp(max=1), lengths)
    for b, n in enumerate(lengths.tolist()):
        alone = torch.cat(list(ours.pair_maps(ids[b : b + 1, :n])), 1)[0]
        assert torch.allclose(together[b, :, :n, :n], alone, atol=1e-5)
        assert together[b, :, n:].abs().sum() + together[b, :, :, n:].abs().sum() == 0
        one = ours.masked_logprobs(ids[b : b + 1, :n], torch.tensor([[0, 1]]))[0]
        assert torch.allclose(by_place[b, :2], one, atol=1e-5)


def fair_esm_name(name: str) -> str | None:
    """Transformers' name as the authors' files have it, written from their published layout."""
    if name == "esm.embeddings.word_embeddings.weight":
        return "encoder.sentence_encoder.embed_tokens.weight"
    for ours, theirs in [
        ("esm.encoder.layer.", "encoder.sentence_encoder.layers."), ("attention.self.query", "self_attn.q_proj"),
        ("attention.self.key", "self_attn.k_proj"), ("attention.self.value", "self_attn.v_proj"),
        ("attention.output.dense", "self_attn.out_proj"), ("attention.LayerNorm", "self_attn_layer_norm"),
        ("intermediate.dense", "fc1"), ("output.dense", "fc2"), ("LayerNorm", "final_layer_norm"),
        ("esm.encoder.emb_layer_norm_after", "encoder.sentence_encoder.emb_layer_norm_after"), ("lm_head", "encoder.lm_head"),
        ("encoder.lm_head.decoder.weight", "encoder.lm_head.weight"),
    ]:  # fmt: skip
        name = name.replace(ours, theirs)
    return None if "contact_head" in name or "position" in name or "decoder" in name or "rotary" in name else name


@pytest.mark.parametrize("says_heads", [True, False])
def test_the_authors_files_load_and_equal_the_others(theirs, ours, tmp_path, says_heads):
    state = theirs.state_dict()
    model = {new: tensor for old, tensor in state.items() if (new := fair_esm_name(old))}
    config = theirs.config
    half = config.hidden_size // config.num_attention_heads // 2
    for i in range(config.num_hidden_layers):
        model[f"encoder.sentence_encoder.layers.{i}.self_attn.rot_emb.inv_freq"] = torch.ones(half)
    sizes = {"token_dropout": config.token_dropout}
    if says_heads:
        sizes["encoder_attention_heads"] = config.num_attention_heads
    torch.save({"cfg": {"model": argparse.Namespace(**sizes)}, "model": model}, tmp_path / "esm2_x.pt")
    head = {f"contact_head.regression.{k}": state[f"esm.contact_head.regression.{k}"] for k in ("weight", "bias")}
    torch.save({"model": head}, tmp_path / "esm2_x-contact-regression.pt")
    loaded = Esm2Model.load(tmp_path / "esm2_x.pt")
    assert loaded.network.shape == ours.network.shape
    assert torch.equal(loaded.network(tokens_of()), ours.network(tokens_of()))
    assert torch.equal(loaded.contact[0], ours.contact[0])


class Harmful:
    def __reduce__(self):
        return print, ("this must not run",)


def test_a_file_that_would_run_code_is_refused(tmp_path, capsys):
    torch.save({"model": {}, "x": Harmful()}, tmp_path / "bad.pt")
    with pytest.raises(DataError, match="plain tensors"):
        read_torch(tmp_path / "bad.pt")
    assert capsys.readouterr().out == ""
    with pytest.raises(DataError, match="not there"):
        read_torch(tmp_path / "absent.pt")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(DataError, match="holds a list"):
        read_torch(tmp_path / "list.pt")


def test_folders_that_are_no_esm2_are_refused(tmp_path):
    network = random_network()
    network.save_pretrained(tmp_path / "m")
    config = (tmp_path / "m/config.json").read_text()
    (tmp_path / "m/config.json").write_text(config.replace('"rotary"', '"absolute"'))
    with pytest.raises(DataError, match="hf:"):
        load_weights(tmp_path / "m")
    (tmp_path / "m/config.json").write_text(config.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    with pytest.raises(DataError, match=r"contact regression has 6 weights, the network 9 maps"):
        Esm2Model.load(tmp_path / "m")
    (tmp_path / "m/model.safetensors").unlink()
    (tmp_path / "m/config.json").write_text(config)
    with pytest.raises(DataError, match=r"no \*.safetensors"):
        load_weights(tmp_path / "m")
    with pytest.raises(UsageError, match="facebook/esm2_t6_8M"):
        load_weights("nothing like it")


def test_a_hub_name_is_not_fetched_unasked(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match="allow_download"):
        load_weights("mumei-nobody/no_such_model")


def test_inputs_are_checked_and_the_protocol_holds(ours):
    assert isinstance(ours, SequenceModel)
    ids, _ = batch(["ACDEF"])
    with pytest.raises(UsageError, match="int64"):
        ours.masked_logprobs(ids.float(), torch.zeros(1, 1, dtype=torch.int64))
    with pytest.raises(UsageError, match="must be 0"):
        list(ours.pair_maps(ids + 30))
    with pytest.raises(UsageError, match="1 numbers"):
        list(ours.pair_maps(ids, torch.tensor([9])))
    ours.max_length = 4
    with pytest.raises(UsageError, match="up to 4"):
        list(ours.pair_maps(ids))
    with pytest.raises(UsageError, match="float32"):
        Esm2Model(ours.network, "x", dtype="float31")


def test_unknown_residues_are_x(ours):
    rows = ours._rows(torch.tensor([[0, UNKNOWN]]), torch.tensor([2]))
    assert rows.tolist() == [[0, VOCABULARY.index("A"), VOCABULARY.index("X"), EOS]]


def test_shapes_that_cannot_be_are_refused():
    with pytest.raises(DataError, match="even multiple"):
        Esm2Shape(2, 30, 4)


def test_bfloat16_stays_near(theirs, tmp_path):
    theirs.save_pretrained(tmp_path / "hf")
    near = Esm2Model.load(tmp_path / "hf", dtype="bfloat16")
    ids, lengths = batch(SEQUENCES)
    maps = torch.cat(list(near.pair_maps(ids, lengths)), 1)
    assert maps.dtype == torch.float32
    assert torch.allclose(maps[0, 0, :10, :10].sum(-1) <= 1.01, torch.tensor(True))
