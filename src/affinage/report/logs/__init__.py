"""Per-question results in other tools' log forms: ids and numbers always, texts only where the data's terms let them be passed on."""

from affinage.report.logs.base import FORMS, Answered, Asked, Form, answered, texts_of
from affinage.report.logs.write import write_logs

__all__ = ["FORMS", "Answered", "Asked", "Form", "answered", "texts_of", "write_logs"]
