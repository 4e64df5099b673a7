"""Files of strangers: whatever text or pickle stands where a number or a name belongs, nothing of it is executed.

CIFs, formulas of models, pages and compiled code have tests of their own.
"""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hyperspy.api as hs
import numpy as np
import pytest
from typer.testing import CliRunner

import hyperspy_assb
from hyperspy_assb.acom import TemplateBank
from hyperspy_assb.cli import app
from hyperspy_assb.lamella.members import read_member
from hyperspy_assb.signals.packing import digest
from hyperspy_assb.simulation import micro_battery

CODE = "__import__('os').system('touch EXECUTED')"
_FIT = 'inputs.maps = "*.npy"\nanalysis.fit = { input = "maps", references = "r" }\n'
RECIPES = {
    "path": 'inputs.maps = "$(touch EXECUTED)/*.hspy"\nanalysis.fit.input = "maps"\n',
    "output": 'inputs.maps = "*.npy"\nanalysis.fit.input = "maps"\noutputs.fit = "../{name.__class__}/{name}"\n',
    "region": f'{_FIT}references.r = {{ LFP = "{CODE}" }}\n',
    "masks": f'{_FIT}references.r = "trap.npz"\n',
    "log": 'inputs.m = "*.npy"\nanalysis.series = { input = "m", log = "{name.__class__}$(touch EXECUTED)" }\n',
    "lamella": 'inputs.m = "L1.toml"\nanalysis.lamella.input = "m"\n',
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


def store(place: str, load: Callable[[str], Any], packed: bool = False) -> Callable[[], Any]:
    """A store of zarr in which a pickle stands; numcodecs is told to open it, as it does unasked before 0.15.2."""

    def run() -> Any:
        import numcodecs
        import zarr

        signal = hs.signals.Signal1D(np.ones((2, 3, 50)))
        signal.set_signal_type("EELS")
        signal.original_metadata.set_item("a.b", 1)
        signal.save("trap.zspy", show_progressbar=False)
        (group,) = (group for _, group in zarr.open("trap.zspy")["Experiments"].groups())
        kept = dict(group["data"].attrs)
        *parents, name = place.split("/")
        for parent in parents:
            group = group[parent]
        if name in group:
            del group[name]
        array = group.create_dataset(name, shape=(2, 3, 50), dtype=object, object_codec=numcodecs.Pickle())
        values = np.empty((2, 3, 50), dtype=object)
        values.fill(Trap())
        array[...] = values
        array.attrs.update(kept if name == "data" else {})
        Path("EXECUTED").unlink(missing_ok=True)
        if packed:
            inside = [path for path in Path("trap.zspy").rglob("*") if path.is_file()]
            with zipfile.ZipFile("packed.zspy", "w") as archive:
                for path in inside:
                    archive.write(path, path.relative_to("trap.zspy").as_posix())
        numcodecs.pickles.ALLOW_UNSAFE_PICKLE_DECODE = True
        try:
            return np.asarray(load("packed.zspy" if packed else "trap.zspy"))
        finally:
            numcodecs.pickles.ALLOW_UNSAFE_PICKLE_DECODE = False

    return run


def lamella(**changes: str) -> Callable[[], Any]:
    def run() -> Any:
        text = "\n".join([f"{key} = {value}" for key, value in changes.items()])
        Path("L1.toml").write_text(f'reference = "a"\n{text}\n[members.a]\nfile = "$(touch EXECUTED)"\n', "utf-8")
        from hyperspy_assb.lamella.lamella_recipe import run_lamella

        return run_lamella(Path("L1.toml"), Path())

    return run


def terminal() -> Any:
    """Names and titles that would command the terminal stand there without their commands."""
    signal = micro_battery(shape=(2, 2), seed=1).eels_before.isig[30.0:]
    signal.metadata.General.title = "\x1b]0;EXECUTED\x07\x9b2J"
    signal.save("a \x1b[2J.hspy")
    done = CliRunner().invoke(app, ["fit", "a \x1b[2J.hspy", "--out", "out"])
    assert done.exit_code == 1
    assert "a \ufffd[2J.hspy" in done.output
    assert not set("\x1b\x07\x9b") & set(done.output)
    raise hyperspy_assb.errors.AssbValueError(done.output)


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


def eelslab() -> Any:
    """A file of HyperSpy's predecessor, whose reader has an eval for its history."""
    from scipy.io import netcdf_file

    with netcdf_file("trap.nc", "w") as file:
        file.file_format_version, file.type, file.history = "EELSlab 0.1", CODE, CODE
        file.createDimension("x", 3)
        data = file.createVariable("data_cube", "f4", ("x",))
        data[:] = np.ones(3)
        data.title = data.energy_units = data.exposure = data.dark_current = CODE
    return hyperspy_assb.load_spectrum_image("trap.nc")


def panta_rhei() -> Any:
    traps = np.array([Trap()], dtype=object)
    np.savez("trap", data=traps, meta_data=traps, file_format_version=traps)
    Path("trap.npz").rename("trap.prz")
    return hyperspy_assb.load_spectrum_image("trap.prz")


def stored_model() -> Any:
    """The component of a model is unpickled when HyperSpy restores the model, and by nothing else."""
    signal = micro_battery(shape=(2, 3), seed=1, signal_type="EELS_ASSB").eels_after
    model = signal.create_model(auto_background=False, auto_add_edges=False)
    model.append(hs.model.components1D.Gaussian())
    signal.models.store(model, "a")
    (component,) = signal.models._models.a._dict["components"]
    component.update(_class_dump=pickle.dumps(Trap()), _id_name="Strange", package="")
    signal.save("map.hspy")
    Path("recipe.toml").write_text('inputs.m = "map.hspy"\nanalysis.fit.input = "m"\n', encoding="utf-8")
    assert hyperspy_assb.batch("recipe.toml", "out").whole
    loaded = hyperspy_assb.load_spectrum_image("map.hspy")
    assert "_class_dump" in str(loaded.models._models.as_dictionary())
    assert not Path("EXECUTED").exists()
    raise hyperspy_assb.errors.AssbValueError("read, and not executed")


def holder_log() -> Any:
    cell = f"=cmd|'{CODE}'!A0"
    Path("log.csv").write_text(f"Time (s),Voltage (V),Current (A)\n{cell},{cell},{CODE}\n", encoding="utf-8")
    return hyperspy_assb.load_voltammogram("log.csv")


def inflating(name: str, inside: str, begin: bytes, load: Callable[[str], Any]) -> Callable[[], Any]:
    """A zip of some kilobytes that holds 300 MB of blanks, as a file, or in the place of a description."""

    def run() -> Any:
        with (
            zipfile.ZipFile(name, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open(inside, "w", force_zip64=True) as stream,
        ):
            stream.write(begin)
            for _ in range(300):
                stream.write(b" " * 10**6)
        return load(name)

    return run


def petabyte(load: Callable[[str], Any]) -> Callable[[], Any]:
    """An array whose header asks for more than there is memory in the world."""

    def run() -> Any:
        header = io.BytesIO()
        told = {"descr": "|b1", "fortran_order": False, "shape": (10**5, 10**10)}
        np.lib.format.write_array_header_1_0(header, told)
        with zipfile.ZipFile("huge.npz", "w") as archive:
            archive.writestr("LiFePO4.npy", header.getvalue())
        return load("huge.npz")

    return run


def masks(path: str) -> Any:
    from hyperspy_assb.report.recipe import load_references

    return load_references((path,), micro_battery(shape=(2, 2), seed=1).eels_after)


def links(place: str) -> Callable[[], Any]:
    """A map whose metadata lie in another file, or in themselves."""

    def run() -> Any:
        Path("secret.hspy").write_bytes(b"secret")
        micro_battery(shape=(2, 2), seed=1).eels_after.save("map.hspy")
        with h5py.File("map.hspy", "a") as file:
            (group,) = file["Experiments"].values()
            outside, inside = h5py.ExternalLink("secret.hspy", "/s"), h5py.SoftLink(group.name)
            group["metadata"]["evil"] = outside if place == "outside" else inside
        return hyperspy_assb.load_spectrum_image("map.hspy")

    return run


def pickled_attribute() -> Any:
    micro_battery(shape=(2, 2), seed=1).eels_after.save("map.hspy")
    with h5py.File("map.hspy", "a") as file:
        (group,) = file["Experiments"].values()
        group["metadata"].attrs["_bs_evil"] = np.void(pickle.dumps(Trap()))
        group["metadata"].attrs["_datetime_evil"] = CODE
        group["metadata"].create_group("_sig_evil")
    return hyperspy_assb.load_spectrum_image("map.hspy")


HOSTILE: dict[str, Callable[[], Any]] = {
    **{f"recipe: {name}": recipe(name) for name in RECIPES},
    "store: data": store("data", hyperspy_assb.load_spectrum_image),
    "store: metadata": store("metadata/evil", hyperspy_assb.load_spectrum_image),
    "store: lazy": store("data", lambda path: hyperspy_assb.load_spectrum_image(path, lazy=True)),
    "store: packed": store("original_metadata/evil", hyperspy_assb.load_spectrum_image, packed=True),
    "store: X-rays": store("data", hyperspy_assb.load_eds_spectrum_image),
    "store: patterns": store("data", hyperspy_assb.load_patterns),
    "store: series": store("data", hyperspy_assb.load_series, packed=True),
    "store: result": store("metadata/ASSB", hyperspy_assb.load, packed=True),
    "store: member of a lamella": store("data", lambda path: read_member(Path(path), "a")),
    "lamella: file": lamella(),
    "lamella: name": lamella(name=f'"{CODE}"'),
    "lamella: alpha": lamella(alpha=f'"{CODE}"'),
    "spectra of EELSLab": eelslab,
    "spectra of Panta Rhei": panta_rhei,
    "model in a map": stored_model,
    "log of a holder": holder_log,
    "terminal": terminal,
    "zip: description": inflating("a.zspy", ".zmetadata", b"{", hyperspy_assb.load_spectrum_image),
    "zip: description of a result": inflating("a.zspy", "x/zarr.json", b"{", hyperspy_assb.load),
    "zip: path": inflating("a.zspy", "x/../EXECUTED", b"", hyperspy_assb.load),
    "zip: masks": petabyte(masks),
    "zip: templates": petabyte(TemplateBank.load),
    "map: link to another file": links("outside"),
    "map: link in a circle": links("inside"),
    "map: pickle in an attribute": pickled_attribute,
    "templates": lambda: TemplateBank.load("trap.npz"),
    "result: a pickle": lambda: hyperspy_assb.load("trap.npz"),
    "result: kind": result(kind=CODE),
    "result: kind of another package": result(kind="os.system"),
    "result: text": result(text=CODE),
    "result: an object": result(text=f'{{"type": "os.system", "value": "{CODE}"}}'),
    "materials": materials,
    "log of a potentiostat": potentiostat,
    "elements": spectra("Sample.elements", [CODE]),
    "elements as a table": spectra("Sample.elements", {"a": CODE}),
    "elements in lists": spectra("Sample.elements", [[CODE], ["Fe"]]),
    "beam energy": spectra("Acquisition_instrument.TEM.beam_energy", CODE),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_is_executed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.ones(3))
    Path("L1.toml").write_text(f'reference = "a"\n[members.a]\nfile = "a.npy"\nbias = "{CODE}"\n', "utf-8")
    np.savez("trap.npz", LiFePO4=np.array([Trap()], dtype=object))
    with pytest.raises(hyperspy_assb.errors.AssbError, match="elements" if "elements" in name else None):
        HOSTILE[name]()
    assert not Path("EXECUTED").exists()
