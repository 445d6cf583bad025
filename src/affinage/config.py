"""One validated study tree: every default stands here, every fault is reported with its path, all of them together."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from affinage.records import Orders, Score, Style, UserError
from affinage.registry import suggest

__all__ = [
    "ControlConfig",
    "DataConfig",
    "EvaluationConfig",
    "MethodConfig",
    "ModelConfig",
    "PromptConfig",
    "PromptingConfig",
    "SplitConfig",
    "StudyConfig",
    "TrainingConfig",
    "TunedConfig",
    "load_study",
    "validated",
]


class _Section(BaseModel):
    """A part of the study tree: unknown keys are faults, values never change, docstrings under fields are their help."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ModelConfig(_Section):
    """Which frozen backbone, and how it computes."""

    id: str = "smollm2"
    """A catalogue name (`affinage models ls`), a hub id, a folder with `config.json`, or a GGUF file."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Type of the frozen weights and of the activations; trained tensors are float32 always."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`, ...; `auto` takes CUDA where there is one."""
    threads: int | None = Field(None, ge=1)
    """CPU threads; part of the plan, since sums are rounded in their order. Default: every core of the process."""
    cohort: int | None = Field(None, ge=1)
    """Adapters that are trained in lockstep in one process, at most. Default: what takes fewest seconds
    per question of what fits into memory, settled when a study begins."""
    nodes_per_pack: int | None = Field(None, ge=1)
    """Node budget of a training pack; a larger step is cut. Default: settled with `cohort`."""
    context: Literal["gradient", "no-gradient", "kept"] | None = None
    """How training computes the question's part where a method's virtual tokens all stand behind it: with what follows (`gradient`), in a pass
    of its own without gradient, or once for the whole training, its keys and values kept in memory (`kept`; without gradient where the options'
    order is fresh in each epoch). Other methods are computed as ever. Default: `kept` where that is estimated to take less time and to fit,
    else `no-gradient`, settled when a study begins."""
    template_arguments: dict[str, str | int | bool] = Field(default_factory=dict)
    """Arguments of the chat template, e.g. `enable_thinking: false` or a fixed `date_string`."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, about a third more time."""
    attention: Literal["auto", "strips", "buckets", "flex", "sdpa"] = "auto"
    """How attention over the token tree is computed: `strips`, small dense products; `buckets`, the same with sizes rounded up to few; `flex`,
    PyTorch's block-sparse FlexAttention (training needs CUDA); `sdpa`, PyTorch's fused attention per strip; `auto` is `strips`."""
    compile: bool | Literal["reduce-overhead"] = False
    """Compile the decoder layers (torch.compile) when they first run; not with gated or routed methods, nor with cohorts of updated modules."""
    quantisation: Literal["none", "8bit", "4bit"] = "none"
    """Keep the frozen linear modules in 8 or 4 bits (bitsandbytes, `pip install affinage[quantise]`); the answers are another model's."""
    device_map: Literal["auto", "balanced", "balanced_low_0", "sequential", "tensor-parallel"] | dict[str, int | str] | None = None
    """Spread the layers over several GPUs, as transformers' `device_map` does (needs accelerate); `tensor-parallel` is refused. Default: all on
    `device`."""


class DataConfig(_Section):
    """Which questions."""

    source: str = "starter"
    """A data source (`affinage data ls`): `starter`, `blend`, `table`, ..."""
    path: str | None = None
    """File or folder of the source; `hub` downloads it where the source is on the hub; the shipped one needs none."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The source's own values (`affinage data ls` lists them), e.g. `language: fa` or the column mapping of a table."""
    cultures: tuple[str, ...] | None = None
    """Cultures to study, spelled as in the source. Default: all of the source."""
    clash: str = "clusters"
    """When two short answers mean the same: `lexical`, `clusters` (lexical and annotators' clusters), or a file of judged pairs."""
    groups: str | None = None
    """File of edited template groups (`affinage data audit --groups-out FILE` writes one). Default: near-duplicates as they are found."""
    rows_per_template: int | None = Field(None, ge=1)
    """At most so many questions per (culture, template), drawn by a hash of the question's id. Default: all."""
    dummies: Literal["keep", "drop"] = "keep"
    """Questions with an invented option (BLEnD's `dummy`): keep them, or leave them out."""


class PromptConfig(_Section):
    """How a question is put to the model and how its answer is scored."""

    style: Style = "letters"
    """`letters`: options listed, a letter is the answer; `text`: options not listed, an option's text is the answer;
    `text-listed`: options listed, an option's text is the answer."""
    instruction: str | None = None
    """`json` for the benchmark's own wording, or any sentence. Default: one short sentence that fits the style."""
    closing: str = "Answer:"
    """The last line of the user's turn; may be empty."""
    score: Score = "total"
    """Log-probability of an answer: `total`, mean `per-token`, mean `per-character`, or `pmi` (minus the same after an empty question)."""
    options: Literal["source", "shuffled"] = "shuffled"
    """Order of the listed options: as in the source, or shuffled by (seed, question)."""
    hide: Literal["nothing", "question", "options"] = "nothing"
    """What the model does not get to see: the question (its culture is still named), or the options' texts (style `letters` only)."""
    system: str | None = None
    """System message; `{culture}` is replaced by the question's culture. Default: none is sent."""
    names: tuple[tuple[str, str], ...] = ()
    """Pairs of a culture and how `{culture}` reads for it: `[[Spain, Spanish society]]`. Default: its name in text."""
    facts: str = "What is known about {culture}:"
    """The line above the facts, where a question comes with some; `{culture}` as in `system`."""
    chat: bool = True
    """Use the model's chat template; false puts the question as plain text (base models)."""


class SplitConfig(_Section):
    """How templates are divided into a training and a test side, the same for every culture."""

    kind: Literal["search", "folds", "seeds", "topics"] = "search"
    """`search`: the study's, the candidates that spread a culture's rows best; `folds`: grouped k-fold; `seeds`: plain draws; `topics`: one
    topic is tested, the others are trained on."""
    count: int = Field(3, ge=1)
    """How many splits to keep; for `folds` how many folds to run (at most `folds`), for `topics` how many topics, largest first."""
    share: float = Field(0.2, gt=0, lt=1)
    """Nominal share of templates on the test side (`search` draws around it, `folds` ignores it)."""
    candidates: int = Field(10_000, ge=1)
    """How many (seed, share) pairs `search` looks at."""
    folds: int = Field(5, ge=2)
    """Number of folds of `folds`."""
    seed: int = 0
    """Seed of the draw."""
    development: bool = True
    """Keep the fixed development side (15 % of templates) out of both sides. The study had none."""
    side: Literal["test", "development"] = "test"
    """Which side is tested: `development` is for choosing settings and never enters a report's main tables."""


class TrainingConfig(_Section):
    """How an adapter is trained."""

    loss: Literal["answer", "choice"] = "answer"
    """`answer`: minus log-probability of the right answer and its ending, summed over tokens; `choice`: minus log-softmax of the
    right option's score over the question's options."""
    steps: int | None = Field(None, ge=0)
    """Optimiser steps; takes precedence over `epochs`."""
    epochs: float = Field(30, gt=0)
    """Passes over the training questions."""
    batch_size: int = Field(16, ge=1)
    """Questions per step."""
    questions_per_template: int = Field(1, ge=1)
    """Neighbours of one template in a batch: 1 is plain shuffling, more shares more of the token tree."""
    weights: Literal["rows", "templates"] = "rows"
    """What counts the same in the loss: each question, or each template, whose questions share one weight (mean 1 over the questions)."""
    orders: Literal["fixed", "fresh"] = "fixed"
    """Order of the listed options over the epochs: the one of `prompt.options`, or shuffled anew for each epoch."""
    rate: float = Field(1e-3, gt=0)
    """Peak learning rate of AdamW."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the rate decays to zero after warm-up (`constant`: not at all)."""
    warmup: float = Field(0.0, ge=0, lt=1)
    """Share of the steps over which the rate rises from zero."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's decoupled weight decay."""
    clip: float | None = Field(1.0, gt=0)
    """Largest norm of an adapter's gradient; null for no clipping."""
    checkpoint_seconds: float = Field(60.0, ge=0)
    """Seconds between checkpoints."""


class EvaluationConfig(_Section):
    """How adapters are tested."""

    orders: Orders = "one"
    """Orders of the listed options in which each question is asked: one, every rotation, or every permutation (at most four options);
    log-probabilities are averaged over them."""
    questions: Literal["all", "swap-pairs"] = "all"
    """Which test questions: all, or those whose very options are also asked about another studied culture with another right one."""

    instructions: tuple[str, ...] = ()
    """Further instructions (as `prompt.instruction`) under which the untouched model and every adapter are tested on the own culture: wordings
    that the adapter was not trained on."""
    nodes_per_pack: int = Field(4096, ge=1)
    """Node budget of one evaluation pack; packs depend on (questions, prompt, budget) alone."""
    rows_per_template: int | None = Field(None, ge=1)
    """At most so many test questions per (culture, template), drawn by a hash of the question's id. Default: all."""


class TunedConfig(_Section):
    """What a search on one split chose for a method."""

    settings: dict[str, Any] = Field(default_factory=dict)
    """The method's own values."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Values of `training`."""
    seen: tuple[str, ...]
    """Templates that the search was trained or chosen on; the values are never tested on them."""
    origin: str
    """The preset's file, for messages."""

    @field_validator("training")
    @classmethod
    def _known(cls, value: dict[str, Any]) -> dict[str, Any]:
        TrainingConfig.model_validate(value)
        return value


class MethodConfig(_Section):
    """One method of a study with its settings."""

    name: str
    """A method: `none`, `prompt-tuning`, `p-tuning`, `prefix-tuning`, `p-tuning-v2`, `prefix-tuning-plus`, `adaptive-prefix`,
    `contrastive-prefix`, `lora`, `lora-mixture`, `lora-hyper`, `full`."""
    label: str | None = None
    """Name of the method's folder and rows; needed when a method stands in a study twice. Default: the name."""
    preset: str = "default"
    """`default`, or `paper` for the reference study's settings; a method names its own. Or a YAML file as `affinage tune` writes it: its values
    stand above the study's `training` and below what is written here."""
    start: str = Field("fresh", pattern=r"^(fresh|similar|all-cultures|culture:.+|tailor:[^+]+\+[^+]+)$")
    """Where its adapters begin: `fresh`; `culture:NAME`, that culture's adapter; `similar`, the other culture's adapter that is most like the own;
    `all-cultures`, the adapter of that control; `tailor:A+B`, the prompts of two cultures one after the other. Such adapters are those of another
    method of the study with the same name and settings that begins afresh, on the same split from the same start."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The method's own values over the preset's (`affinage params --help`)."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Values of `training` for this method alone, over the preset's and the study's."""
    tuned: dict[str, TunedConfig] | None = None
    """Per split the values of the file that `preset` names; filled in when a study begins."""

    @field_validator("training")
    @classmethod
    def _known(cls, value: dict[str, Any]) -> dict[str, Any]:
        TrainingConfig.model_validate(value)
        return value


class ControlConfig(_Section):
    """One control of a study: what an adapter reaches that did not learn its culture the ordinary way."""

    name: str
    """A control: `format-control`, `general-format`, `letter-bias`, `other-cultures`, `all-cultures`, `wrong-culture`, `question-blind`,
    `option-blind`, `learning-curve`."""
    methods: tuple[str, ...] | None = None
    """Labels of the methods that it is trained with. Default: every method of the study."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The control's own values."""


class PromptingConfig(_Section):
    """One baseline without training: the untouched model, its questions put better."""

    name: str
    """A baseline: `culture-prompt`, `anthropological`, `few-shot`, `retrieval`."""
    label: str | None = None
    """Name of its folder and rows; needed when a baseline stands in a study twice. Default: the name."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The baseline's own values: wordings, number of candidates, where they are chosen."""


class StudyConfig(_Section):
    """A plan of runs: every method on every culture, for every split and start, tested on every culture."""

    name: str = "study"
    """Printed on the report."""
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    prompt: PromptConfig = PromptConfig()
    splits: SplitConfig = SplitConfig()
    methods: tuple[MethodConfig, ...] = (MethodConfig(name="prompt-tuning"), MethodConfig(name="prefix-tuning"))
    """The untouched model (`none`) and each method's untrained start are always run beside them."""
    controls: tuple[ControlConfig, ...] = ()
    """Controls beside the methods (`affinage study controls` lists them)."""
    prompting: tuple[PromptingConfig, ...] = ()
    """Baselines without training beside the methods (`affinage study baselines` lists them)."""
    starts: int = Field(2, ge=1)
    """Starts per split; start k is the same tensor for every culture."""
    seed: int = 0
    """Seed of shuffles and starts."""
    training: TrainingConfig = TrainingConfig()
    """Values for every method; those written here win over a method's preset."""
    evaluation: EvaluationConfig = EvaluationConfig()
    tracking: Literal["none", "tensorboard", "wandb", "mlflow"] = "none"
    """A tracker that is told of the training beside the study's folder, in `tracking/` below it, never over the network: `tensorboard`, `wandb`
    (offline) or `mlflow` (a local file); each needs the extra of its name. It changes no result, so a study may go on with another one."""
    limit: int | None = Field(None, ge=1)
    """At most so many questions per culture and side: a trial; its runs are marked provisional and stay out of the main tables."""

    @field_validator("methods")
    @classmethod
    def _labels_differ(cls, value: tuple[MethodConfig, ...]) -> tuple[MethodConfig, ...]:
        labels = [method.label or method.name for method in value]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands there twice: give each its own `label`")
        if not value:
            raise ValueError("at least one method is needed; `none` is the untouched model")
        return value


Section = TypeVar("Section", bound=BaseModel)


def validated(section: type[Section], values: object, where: str) -> Section:
    """The values as a section of the study tree.

    Args:
        section: which part of the tree.
        values: what a YAML file or a dictionary of the user's holds.
        where: the file or flag, for messages.

    Raises:
        UserError: all faults together, each with its path; an unknown key comes with the nearest known one.
    """
    if not isinstance(values, dict):
        raise UserError(where, type(values).__name__, "a mapping of settings", "See `affinage study plan --help` for an example.")
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise UserError.join(_fault(section, fault, where) for fault in error.errors()) from None


def _fault(section: type[BaseModel], fault: Any, where: str) -> UserError:
    """One fault of pydantic's as a message of ours."""
    path = ".".join(str(part) for part in fault["loc"])
    here = f"{where}: {path}" if path else where
    if fault["type"] == "extra_forbidden":
        return UserError(here, "an unknown key", "a known one", suggest(str(fault["loc"][-1]), _keys(section, fault["loc"][:-1])))
    found = "nothing" if fault["type"] == "missing" else repr(fault["input"])
    expected = "a value" if fault["type"] == "missing" else fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return UserError(here, found, expected, "Mend the value.")


def _keys(section: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """Known keys of the section at `path` below `section`."""
    for part in path:
        if isinstance(part, int):
            continue
        annotation = section.model_fields[part].annotation
        inner = [annotation, *getattr(annotation, "__args__", ())]
        found = [kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not found:
            break
        section = found[0]
    return list(section.model_fields)


def presets() -> list[str]:
    """Names of the shipped studies."""
    folder = resources.files("affinage") / "presets"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_study(source: str | Path, overrides: dict[str, Any] | None = None) -> StudyConfig:
    """A study from a YAML file or from a shipped preset's name.

    Args:
        source: path of a YAML file, or a preset (`paper`, `demo`, ...).
        overrides: values that win over the file's, as dotted paths: `{"model.id": "smollm2"}`.

    Raises:
        UserError: no such file or preset, not YAML, or faults in it (all reported together).
    """
    path = Path(source)
    if path.suffix in {".yaml", ".yml"} or path.exists():
        where = str(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(where, str(error), "a readable YAML file", "Check the path.") from None
    elif str(source) in presets():
        where = f"preset {source}"
        text = (resources.files("affinage") / "presets" / f"{source}.yaml").read_text(encoding="utf-8")
    else:
        raise UserError("study", repr(str(source)), "a YAML file or a preset", suggest(str(source), presets()))
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UserError(where, " ".join(str(error).split()), "YAML", "Mend the line that it names.") from None
    for dotted, value in (overrides or {}).items():
        _put(values, dotted.split("."), value, dotted)
    return validated(StudyConfig, values, where)


def _put(tree: Any, path: list[str], value: Any, dotted: str) -> None:
    """Sets tree[path[0]][path[1]]... = value."""
    for part in path[:-1]:
        if not isinstance(tree, dict):
            break
        tree = tree.setdefault(part, {})
    if not isinstance(tree, dict):
        raise UserError(f"override {dotted}", "a value that is no mapping on the way", "a path of keys", "Check the path.")
    tree[path[-1]] = value
