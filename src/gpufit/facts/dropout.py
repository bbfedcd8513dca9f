"""Where a model drops values at random while it trains, which costs a mask of one byte an element.

Only whether a probability is above zero matters for memory. Defaults: transformers 5.23.0, configuration_<family>.py.
"""

from __future__ import annotations

from gpufit.facts.config import Config
from gpufit.records import record


@record
class Dropout:
    """Whether training drops attention probabilities, block outputs, MLP activations, embeddings."""

    attention: bool = False
    hidden: bool = False
    activation: bool = False
    embedding: bool = False


_KEYS = {  # what a configuration calls them; the first key present counts
    "attention": ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob", "attn_dropout"),
    "hidden": ("resid_pdrop", "hidden_dropout_prob", "hidden_dropout", "residual_dropout", "dropout", "dropout_rate"),
    "activation": ("activation_dropout",),
    "embedding": ("embd_pdrop", "embed_dropout", "embedding_dropout"),
}
_ALL = Dropout(attention=True, hidden=True, embedding=True)
_BART = Dropout(hidden=True, embedding=True)
_BERT_KIN = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "deberta", "deberta-v2", "ernie", "distilbert",
             "mpnet")  # fmt: skip
_BART_KIN = ("bart", "mbart", "opt", "marian", "pegasus", "blenderbot", "blenderbot-small", "led")
_DEFAULTS = {
    **dict.fromkeys(("gpt2", "gpt_bigcode"), _ALL),
    **dict.fromkeys(_BERT_KIN, _ALL),
    **dict.fromkeys(("t5", "mt5", "umt5"), Dropout(attention=True, hidden=True, activation=True, embedding=True)),
    **dict.fromkeys(_BART_KIN, _BART),
    "m2m_100": _ALL,
}
_ONE_FOR_ALL = {"t5", "mt5", "umt5"}  # dropout_rate alone
_EMBEDDING_AS_HIDDEN = {*_BERT_KIN, *_BART_KIN, "m2m_100"}


def read_dropout(config: Config) -> Dropout:
    """What config.json says, else what the family's configuration class has.

    >>> read_dropout(Config({"model_type": "gpt2", "attn_pdrop": 0.0}))
    Dropout(attention=False, hidden=True, activation=False, embedding=True)
    """
    family = str(config.raw("model_type"))
    default = _DEFAULTS.get(family, Dropout())
    found = {name: _stated(config, keys, getattr(default, name)) for name, keys in _KEYS.items()}
    if family in _ONE_FOR_ALL:
        found = dict.fromkeys(found, found["hidden"])
    if family in _EMBEDDING_AS_HIDDEN:
        found["embedding"] = found["hidden"]
    return Dropout(**found)


def _stated(config: Config, keys: tuple[str, ...], default: bool) -> bool:
    for key in keys:
        value = config.raw(key)
        if type(value) in (int, float):
            return bool(value > 0)
    return default
