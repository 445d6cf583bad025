"""`generate` of transformers over PEFT: greedy, one new token, which is the letter that the model answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, final

import torch
from torch import Tensor
from transformers import GenerationConfig

from affinage.bench.sides.base import EvaluationSide, Pass, stopwatch
from affinage.bench.sides.peft_evaluation import tested
from affinage.bench.sides.peft_model import device_of, virtual_tokens
from affinage.bench.work import Question, Work
from affinage.records import UserError

__all__ = ["Generate"]

_GREEDY = GenerationConfig(do_sample=False, max_new_tokens=1, pad_token_id=0)


@final
class Generate(EvaluationSide):
    """One new token after each question.

    What a test wants is the letter, so a timed pass asks for nothing else. Equality is judged by the log-probabilities of the letters in the
    logits that `generate` chose its token from: where they agree, so do the letters, but for two that are as near as the rounding.

    Args:
        work: what is tested.
        batch_size: questions per call, at most.

    Raises:
        UserError: answers of several tokens.
    """

    def __init__(self, work: Work, batch_size: int = 1) -> None:
        if any(count != 1 for question in work.questions for count in question.scored):
            found = "options that are texts"
            raise UserError("generate", found, "letters: it writes an answer of its own and scores no options", "Leave it out for this style.")
        self._work, self._batch_size = work, batch_size
        self._model = tested(work)
        self._virtual = virtual_tokens(work)
        self.device, self.threads = device_of(work), torch.get_num_threads()

    def scores(self, count: int) -> list[list[float]]:
        """Log-probability of each letter where the new token was chosen.

        Raises:
            ValueError: the token is not the most probable one: something else than the model had a say.
        """
        found: dict[str, list[float]] = {}
        for batch in self._batches(self._work.questions[:count]):
            made = self._generated(batch, output_logits=True, return_dict_in_generate=True)
            logits: Tensor = made.logits[0]
            if not torch.equal(made.sequences[:, -1], logits.argmax(-1)):
                raise ValueError("generate did not take the most probable token")
            logprobs = logits.float().log_softmax(-1)
            for question, row in zip(batch, logprobs, strict=True):
                found[question.id] = row[[option[0] for option in question.options]].tolist()
        return [found[question.id] for question in self._work.questions[:count]]

    def letters(self, count: int) -> list[int | None]:
        """What is answered to each of the first `count` questions: the option whose letter the new token is, None for any other token."""
        found: dict[str, int | None] = {}
        for batch in self._batches(self._work.questions[:count]):
            for question, token in zip(batch, self._generated(batch)[:, -1].tolist(), strict=True):
                firsts = [option[0] for option in question.options]
                found[question.id] = firsts.index(token) if token in firsts else None
        return [found[question.id] for question in self._work.questions[:count]]

    def run(self) -> Pass:
        """All questions."""
        with stopwatch(self.device) as clock:
            self.letters(len(self._work.questions))
        tokens = padded = 0
        for batch in self._batches(self._work.questions):
            lengths = [len(question.context) + self._virtual for question in batch]
            tokens, padded = tokens + sum(lengths), padded + max(lengths) * len(batch)
        return Pass(clock.seconds, tokens, padded)

    def _batches(self, questions: Sequence[Question]) -> Iterator[list[Question]]:
        """Questions of like lengths together, where there is more than one in a batch.

        PEFT puts virtual tokens before the padding, too far away from the text: with them, questions of one length only stand together.
        """
        waiting: list[Question] = []
        ordered = questions if self._batch_size == 1 else sorted(questions, key=lambda question: len(question.context))
        for question in ordered:
            apart = self._virtual > 0 and waiting and len(waiting[0].context) != len(question.context)
            if apart or len(waiting) == self._batch_size:
                yield waiting
                waiting = []
            waiting.append(question)
        if waiting:
            yield waiting

    @torch.no_grad()
    def _generated(self, batch: Sequence[Question], **wanted: Any) -> Any:
        """What `generate` returns: sequences [B, T + 1], or with `wanted` its record."""
        longest = max(len(question.context) for question in batch)
        blanks = [longest - len(question.context) for question in batch]
        ids = torch.tensor([[0] * blank + list(question.context) for blank, question in zip(blanks, batch, strict=True)], device=self.device)
        mask = torch.tensor([[0] * blank + [1] * (longest - blank) for blank in blanks], device=self.device)
        return self._model.generate(input_ids=ids, attention_mask=mask, generation_config=_GREEDY, **wanted)
