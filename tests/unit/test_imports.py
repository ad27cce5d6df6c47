"""The import law: one folder a concern, imports run one way, stages import no stage."""

import pytest

from pidflow.provenance import PACKAGE, direct_imports

# What a folder may import beside itself and the ground floor. A module stands for itself alone.
ALLOWED = {
    "data": (),
    "models": ("data",),
    "interventions": ("models", "data"),
    "flows": (),
    "pid": ("flows",),
    "validation": ("pid", "flows"),
    "spectrum": ("pid", "models.answers"),
    "analysis": (
        "pid.results",
        "pid.records",
        "interventions.windows",
        "spectrum.results",
        "spectrum.modes",
        "spectrum.words",
    ),
    "figures": ("analysis",),
    "config": (
        "models.answers",
        "models.dynamics",
        "models.prompts",
        "flows.settings",
        "spectrum.settings",
        "spectrum.estimate_settings",
        "interventions.windows",
    ),
    "stages": (
        "config.design",
        "data",
        "models",
        "interventions",
        "flows",
        "pid",
        "validation",
        "spectrum",
        "analysis",
        "figures",
    ),
}
GROUND_MAY = {name: ("errors",) for name in ("arguments", "logs", "provenance", "versions")}
GROUND_MAY |= {name: () for name in ("names", "errors", "running")}
GROUND_MAY |= {"status": ("logs", "running")}
GROUND_MAY |= {"arrays": ("errors", "arguments")}
GROUND_MAY |= {name: ("errors", "arguments", "arrays") for name in ("stats", "groups")}
GROUND_MAY |= {"plugins": ("errors", "names"), "files": ("errors", "names", "versions")}
GROUND = tuple(GROUND_MAY)

MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if path != PACKAGE / "__init__.py"
)


def below(module, allowed):
    """Whether a module is one of those allowed or lies in one of them."""
    return any(module == each or module.startswith(f"{each}.") for each in allowed)


def forbidden(module, imported):
    """Whether the law forbids `module` to import `imported`; both without the package's name."""
    floor = module.split(".")[0]
    if floor in GROUND_MAY:
        return not below(imported, (floor, *GROUND_MAY[floor]))
    if floor == "stages" and below(imported, ["stages"]):
        return not imported.split(".")[1].startswith("_")  # what stages share is private to them
    return not below(imported, (floor, *GROUND, *ALLOWED[floor]))


def test_the_law_speaks_of_every_module():
    assert {module.split(".")[0] for module in MODULES} == {*GROUND, *ALLOWED}


@pytest.mark.parametrize("module", MODULES)
def test_no_import_runs_upwards_or_sideways(module):
    imported = {name.removeprefix("pidflow.") for name in direct_imports(f"pidflow.{module}")} - {"pidflow"}
    assert [name for name in sorted(imported) if forbidden(module, name)] == []


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("models.capture", "interventions.knockout"),
        ("flows.pca", "pid.gaussian"),
        ("stages.fit_pca", "stages.train_flow"),
        ("analysis.claims", "pid.estimate"),
        ("stats", "pid.bias"),
        ("config.design", "analysis.claims"),
        ("config.configuration", "models.loading"),
        ("figures.overview", "stages.plot"),
    ],
)
def test_the_law_forbids(module, imported):
    assert forbidden(module, imported)


@pytest.mark.parametrize("folder", sorted({path.parent for path in PACKAGE.rglob("*.py")} - {PACKAGE}))
def test_packages_hold_a_docstring(folder):
    assert (folder / "__init__.py").read_text().startswith('"""')
