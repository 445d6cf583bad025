"""The only place that tokenises: rendered questions as token ids, for one tokenizer and one set of template arguments.

    tokens = Tokens(AutoTokenizer.from_pretrained(folder), stop_ids=generation_config.eos_token_id)
    encoded, refused = tokens.encode_all(questions, config, seed=0)

Context and continuation are encoded as one text, which must begin with the context's ids; where it does not, a blank moves from the end of
the context to the continuation, else the question is refused with a reason. Nothing is added that the text does not hold: a template that
wants a beginning-of-text token writes it.

Speed rests on one property, checked for each token when the tokenizer is wrapped: text is cut at special tokens before anything else
happens to it, so ids(before + special + after) = ids(before) + ids(special + after). Only what follows the context's last special token has
to be encoded together with the answers, and under most templates that is the same few characters for every question.
"""

from affinage.encode.template import FIXED_DATE
from affinage.encode.tokens import Refusal, Tokens

__all__ = ["FIXED_DATE", "Refusal", "Tokens"]
