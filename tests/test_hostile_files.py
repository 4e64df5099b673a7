"""Files of strangers: whatever text or pickle stands where a number or a name belongs, nothing of it is executed.

CIFs, formulas of models, pages and compiled code have tests of their own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hyperspy.api as hs
import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.acom import TemplateBank
from hyperspy_assb.signals.packing import digest
from hyperspy_assb.simulation import micro_battery

CODE = "__import__('os').system('touch EXECUTED')"
_FIT = 'inputs.maps = "*.npy"\nanalysis.fit = { input = "maps", references = "r" }\n'
RECIPES = {
    "path": 'inputs.maps = "$(touch EXECUTED)/*.hspy"\nanalysis.fit.input = "maps"\n',
    "output": 'inputs.maps = "*.npy"\nanalysis.fit.input = "maps"\noutputs.fit = "../{name.__class__}/{name}"\n',
    "region": f'{_FIT}references.r = {{ LFP = "{CODE}" }}\n',
    "masks": f'{_FIT}references.r = "trap.npz"\n',
}


class Trap:
    """Touches a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch EXECUTED",)


def recipe(name: str) -> Callable[[], Any]:
    def run() -> Any:
        Path("recipe.toml").write_text(RECIPES[name], encoding="utf-8")
        found = hyperspy_assb.batch("recipe.toml", "out")
        assert not found.whole
        raise hyperspy_assb.errors.AssbValueError(found.outcomes[0].message)

    return run


def materials() -> Any:
    text = f'[[material]]\nname = "x"\nformula = "{CODE}"\ndensity = "{CODE}"\ncif = "/etc/passwd"\n'
    Path("mine.toml").write_text(text, encoding="utf-8")
    return hyperspy_assb.add_materials("mine.toml")


def potentiostat() -> Any:
    text = f"EC-Lab ASCII FILE\nNb header lines : {CODE}\n{CODE}\t{CODE}\n1\t2\n"
    Path("cv.mpt").write_text(text, encoding="latin-1")
    return hyperspy_assb.load_voltammogram("cv.mpt")


def spectra(item: str, value: Any) -> Callable[[], Any]:
    def run() -> Any:
        signal = micro_battery(shape=(2, 2), seed=1).eels_before
        signal.metadata.General.title = "{0.__class__} {{ 7*7 }} %s " + CODE
        signal.metadata.set_item(item, value)
        signal.save("map.hspy")
        return hyperspy_assb.load_spectrum_image("map.hspy").quantify_delithiation(method="lithium")

    return run


def result(**changes: Any) -> Callable[[], Any]:
    def run() -> Any:
        peak = micro_battery(shape=(2, 3), seed=1, signal_type="EELS_ASSB").eels_before.estimate_zero_loss()
        peak.save("peak.hspy")
        signal = hs.load("peak.hspy")
        node = signal.metadata.ASSB.result.as_dictionary() | changes
        if "text" in changes:
            # Whoever can write a file can write its digest.
            node["content"]["text"] = [node.pop("text")]
            node["digest"] = digest(node["content"]["text"][0], node["content"]["arrays"])
        signal.metadata.set_item("ASSB.result", node)
        signal.save("peak.hspy", overwrite=True)
        return hyperspy_assb.load("peak.hspy")

    return run


HOSTILE: dict[str, Callable[[], Any]] = {
    **{f"recipe: {name}": recipe(name) for name in RECIPES},
    "templates": lambda: TemplateBank.load("trap.npz"),
    "result: a pickle": lambda: hyperspy_assb.load("trap.npz"),
    "result: kind": result(kind=CODE),
    "result: kind of another package": result(kind="os.system"),
    "result: text": result(text=CODE),
    "result: an object": result(text=f'{{"type": "os.system", "value": "{CODE}"}}'),
    "materials": materials,
    "log of a potentiostat": potentiostat,
    "elements": spectra("Sample.elements", [CODE]),
    "beam energy": spectra("Acquisition_instrument.TEM.beam_energy", CODE),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_is_executed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.ones(3))
    np.savez("trap.npz", LiFePO4=np.array([Trap()], dtype=object))
    with pytest.raises(hyperspy_assb.errors.AssbError):
        HOSTILE[name]()
    assert not Path("EXECUTED").exists()
