"""Masked models of transformers: an ESM folder gives what our own ESM-2 gives, a BERT what transformers itself says."""

from __future__ import annotations

import pytest
import torch

from mumei.core.errors import DataError, UsageError
from mumei.protein.alphabet import AMINO_ACIDS, batch
from mumei.protein.models.esm2 import Esm2Model
from mumei.protein.models.esm2_network import VOCABULARY
from mumei.protein.models.hf import MaskedLM
from mumei.protein.models.load import load_model
from mumei.testing.sequence_models import check_sequence_model

transformers = pytest.importorskip("transformers", reason="needs the protein extra")
TEXTS = ["MKTAYIAKQR", "ACDEFGHIKLMNPQRSTVWY", "WY"]


@pytest.fixture(scope="module")
def esm_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("esm")
    config = transformers.EsmConfig(
        vocab_size=33, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=48, token_dropout=True,
        position_embedding_type="rotary", mask_token_id=32, pad_token_id=1, layer_norm_eps=1e-5, emb_layer_norm_before=False,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, max_position_embeddings=64,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(1)
        transformers.EsmForMaskedLM(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    transformers.EsmTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory):
    """ProtBERT's kind: BERT over letters, with absolute positions."""
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"LAGVESIKRDTPNQFYMHCWXUBZO"]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(folder / "vocab.txt"), do_lower_case=False).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=48,
        max_position_embeddings=40,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(2)
        transformers.BertForMaskedLM(config).eval().save_pretrained(folder)
    return folder


def test_an_esm_folder_gives_what_our_own_network_gives(esm_folder):
    ours, theirs = Esm2Model.load(esm_folder), load_model(f"hf:{esm_folder}")
    tokens, lengths = batch(TEXTS)
    positions = torch.tensor([[0, 1]] * 3)
    torch.testing.assert_close(
        theirs.masked_logprobs(tokens, positions, lengths),
        ours.masked_logprobs(tokens, positions, lengths),
        atol=1e-5,
        rtol=0,
    )
    for a, b in zip(theirs.pair_maps(tokens, lengths), ours.pair_maps(tokens, lengths), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
    assert theirs.max_length is None
    check_sequence_model(lambda: theirs)


def test_a_bert_gives_what_transformers_says(bert_folder):
    """Expected: transformers' own tokenizer on letters with spaces, one mask, the twenty letters' logits normalised."""
    model = MaskedLM(bert_folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert_folder)
    network = transformers.AutoModelForMaskedLM.from_pretrained(bert_folder).eval()
    letters = list(TEXTS[0])
    letters[4] = "[MASK]"
    with torch.no_grad():
        logits = network(**tokenizer(" ".join(letters), return_tensors="pt")).logits[0, 5]
    expected = logits[tokenizer.convert_tokens_to_ids(list(AMINO_ACIDS))].log_softmax(-1)
    found = model.masked_logprobs(batch([TEXTS[0]])[0], torch.tensor([[4]]))[0, 0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    check_sequence_model(lambda: model)
    assert model.max_length == 38
    with pytest.raises(UsageError, match="up to 38"):
        model.masked_logprobs(torch.zeros((1, 39), dtype=torch.int64), torch.tensor([[0]]))


def test_what_is_no_such_model_is_refused(tmp_path, bert_folder):
    with pytest.raises(UsageError, match="Downloads are not allowed"):
        MaskedLM("nobody/no-such-model")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "of"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = transformers.BertConfig(
        vocab_size=7, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path)
    with pytest.raises(DataError, match="no token for A"):
        MaskedLM(tmp_path)


def test_names_that_are_no_model(tmp_path):
    for name in ("esm", "esm3:x", "ngram:", "potts"):
        with pytest.raises(UsageError, match="sequence model"):
            load_model(name)
    assert load_model("ngram").name == "ngram:natural"
