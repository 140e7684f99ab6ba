"""Which part may import which: the table of docs/design.md."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import latente

SOURCE = Path(latente.__file__).parent
HEAVY = ("torch", "numpy", "PIL", "matplotlib", "sklearn", "scipy", "safetensors")
COMMAND_LINE = (  # whatever they need, but late
    *("__main__", "cli", "cli_arguments", "cli_compare", "cli_diagnose", "cli_edit", "cli_explore", "cli_measure"),
    *("cli_museum", "cli_styles", "cli_train"),
)
MODELS = {"autoencoder", "vae", "gan", "dcgan", "r3gan", "progan", "stylegan", "stylegan2", "classifier"}
ANCESTORS = {"stylegan": {"progan"}, "stylegan2": {"progan", "stylegan"}}  # whose parts a family takes as they are


def modules() -> dict[str, ast.Module]:
    """Dotted name without the leading "latente." -> tree."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


TREES = modules()


def imports(tree: ast.AST, typing_too: bool = False, late_too: bool = True) -> set[str]:
    """What is imported, dotted and absolute: `from latente import run` gives latente and latente.run."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for child in node.orelse if not typing_too else node.body + node.orelse:
                visit(child)
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not late_too:
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


def ours(tree: ast.AST, **what: bool) -> set[str]:
    """The modules of this package that are imported."""
    names = {name.removeprefix("latente.") for name in imports(tree, **what) if name.startswith("latente.")}
    return {name for name in names if name in TREES} | {n.rpartition(".")[0] for n in names if n not in TREES} - {""}


def within(folder: str) -> list[str]:
    return [name for name in TREES if name == folder or name.startswith(f"{folder}.")]


# A part of the package -> what of the package it may import. "data" covers data.stream.
LAYERED = {
    "messages": set(),
    "config": {"messages"},
    "bounds": {"config", "messages"},
    "presets": {
        "config",
        "messages",
        *("presets_autoencoder", "presets_classifier", "presets_gan", "presets_growing", "presets_vae"),
    },
    "presets_gan": {"config"},
    "presets_growing": {"config"},
    "portraits": set(),
    "paths": set(),
    "presets_autoencoder": {"config"},
    "presets_classifier": {"config"},
    "presets_vae": {"config"},
    "pictures": set(),
    "kl_weight": {"config", "messages"},
    "layers": set(),
    "checkpoint": set(),
    "objectives": {"objectives"},
    "data": {"config", "messages", "data"},
    "models": {"config", "layers", "messages", "models", "objectives"},
    "run": {"checkpoint", "config", "messages", "models"},
    "evaluation": {
        *("config", "data", "evaluation", "layers", "messages", "models", "objectives", "paths", "pictures"),
        *("portraits", "run"),
    },
    "diagnosis": {
        *("config", "data", "diagnosis", "evaluation", "messages", "models", "objectives", "pictures", "portraits"),
        *("presets", "run"),
    },
    "exploration": {"config", "data", "exploration", "messages", "models", "paths", "run", "pictures"},
    "report": {"config", "data", "diagnosis", "evaluation", "messages", "models", "pictures", "report", "run"},
    "training": {
        *("bounds", "checkpoint", "config", "data", "layers", "messages", "models", "objectives", "pictures", "run"),
        *("diagnosis", "evaluation", "portraits", "training"),
        "presets",  # the estimated time of each
    },
    "terminal": {"messages"},
}


@pytest.mark.parametrize("part", LAYERED)
def test_a_part_imports_what_it_may(part: str) -> None:
    assert within(part) or part == "diagnosis", f"there is no {part}"
    for name in within(part):
        for imported in ours(TREES[name]):
            assert imported.partition(".")[0] in LAYERED[part] | {part}, f"{name} imports {imported}"


def test_every_part_is_in_the_table() -> None:
    parts = {name.partition(".")[0] for name in TREES} - {"", *COMMAND_LINE}
    assert parts == set(LAYERED) & parts


def test_objectives_and_layers_know_torch_alone() -> None:
    allowed = {"torch", "math", "typing", "collections", "functools", "itertools", "latente"}
    for name in [*within("objectives"), "layers"]:
        assert {imported.partition(".")[0] for imported in imports(TREES[name])} <= allowed, name


def test_models_know_of_the_stream_for_annotations_only() -> None:
    for name in within("models"):
        assert not {m for m in ours(TREES[name]) if m.partition(".")[0] in ("data", "training", "run")}, name


def test_one_family_does_not_know_another() -> None:
    for family in MODELS:
        others = {f"models.{other}" for other in MODELS - {family} - ANCESTORS.get(family, set())}
        assert not others & ours(TREES[f"models.{family}"], typing_too=True)


def test_training_names_the_families_in_one_file() -> None:
    for name in within("training"):
        if name == "training.assemble":
            continue
        assert not {f"models.{family}" for family in MODELS} & ours(TREES[name], typing_too=True), name
        words = {n.id for n in ast.walk(TREES[name]) if isinstance(n, ast.Name)}
        words |= {n.attr for n in ast.walk(TREES[name]) if isinstance(n, ast.Attribute)}
        words |= {n.name for n in ast.walk(TREES[name]) if isinstance(n, ast.alias)}
        slips = {word for word in words if any(family in word.lower().split("_") for family in MODELS)}
        slips |= {
            w
            for w in words
            if w in ("Autoencoder", "VAE") or w.startswith(("AutoencoderM", "AutoencoderO", "VAEM", "VAEO"))
        }
        assert slips == set(), f"{name} names {slips}"


def test_nobody_but_the_command_line_imports_training() -> None:
    for name in TREES:
        if name.partition(".")[0] in ("training", "cli", "cli_train", "cli_measure", "cli_museum"):
            continue
        assert not [m for m in ours(TREES[name], typing_too=True) if m.startswith("training")], name


def test_nobody_imports_the_command_line() -> None:
    for name in set(TREES) - set(COMMAND_LINE):
        assert not set(COMMAND_LINE) & ours(TREES[name], typing_too=True), name


def test_a_run_is_read_without_torch() -> None:
    early = imports(TREES["run"], late_too=False)
    assert not [name for name in early if name.partition(".")[0] in HEAVY]
    assert not [m for m in ours(TREES["run"], late_too=False) if m in ("checkpoint", "models")]


def test_the_loop_and_the_steps_know_no_more_than_they_need() -> None:
    assert ours(TREES["training.loop"]) <= {"data.stream", "training.schedule", "training.state"}
    assert ours(TREES["training.schedule"]) == {"config"}
    assert not [m for m in ours(TREES["training.minimise"]) if m.startswith(("models", "run", "checkpoint"))]


def test_no_pickle() -> None:
    for name, tree in TREES.items():
        assert not {"pickle", "dill", "joblib", "shelve", "marshal"} & {m.partition(".")[0] for m in imports(tree)}, (
            name
        )
        called = {f"{ast.unparse(n.func)}" for n in ast.walk(tree) if isinstance(n, ast.Call)}
        assert not {"torch.load", "torch.save"} & called, name


def test_no_torchvision_and_no_drawer_of_odds_and_ends() -> None:
    for name, tree in TREES.items():
        assert "torchvision" not in {m.partition(".")[0] for m in imports(tree)}
        assert not {"utils", "util", "helpers", "common", "misc", "base", "core"} & set(name.split(".")), name


@pytest.mark.parametrize(
    "light", ["latente", "latente.config", "latente.presets", "latente.messages", "latente.cli", "latente.run"]
)
def test_what_the_command_line_needs_first_is_light(light: str) -> None:
    code = f"import sys, {light}; print(sorted(set(sys.argv[1:]) & set(sys.modules)))"
    heavy = [*HEAVY, "rich", "pooch"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
