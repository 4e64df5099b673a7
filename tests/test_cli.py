"""The command line: fast help, exit codes, one-line errors, and results that are whole or not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from typer.testing import CliRunner

from hyperspy_assb import __version__
from hyperspy_assb.cli import app
from hyperspy_assb.simulation import micro_battery, true_k_factors


@pytest.fixture(scope="module")
def battery():
    return micro_battery(shape=(12, 12), seed=0, signal_type="EELS_ASSB")


@pytest.fixture(scope="module")
def spectra(battery, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "after.hspy"
    battery.eels_after.save(path)
    return path


@pytest.fixture(scope="module")
def edx(tmp_path_factory):
    path = tmp_path_factory.mktemp("edx") / "edx.hspy"
    micro_battery(shape=(8, 8), seed=3).edx_after.save(path)
    return path


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def fails(result, code, *words):
    assert result.exit_code == code
    message = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert len(message) == 1
    assert "Traceback" not in result.output
    for word in words:
        assert word in message[0]


def test_help_imports_no_science():
    code = (
        "import sys; from hyperspy_assb.cli import app\n"
        "try: app(['fit', '--help'])\n"
        "except SystemExit as leave: assert not leave.code\n"
        "print([m for m in ('hyperspy', 'exspy', 'numpy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    assert "assb fit" in done.stdout


def test_the_shell_completes_commands_and_options():
    command = [sys.executable, "-c", "from hyperspy_assb.cli import app; app(prog_name='assb')"]
    for words, wanted in (("assb f", "fit"), ("assb fit --fig", "--figures")):
        setting = {"_ASSB_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | setting)
        assert done.stdout.split() == [wanted], done.stderr


def test_figures_as_vectors(tmp_path):
    from hyperspy_assb.report.html import Figure, Report
    from hyperspy_assb.report.output import figures_as

    for kind in ("png", "svg"):
        figure, ax = plt.subplots()
        ax.set_title("x in LixFePO4")
        with figures_as(kind):
            drawn = Figure.of(figure, "map", "A map")
        report = Report("A cell")
        report.add("Maps", figures=[drawn])
        (tmp_path / kind).mkdir()
        report.write(tmp_path / kind)
        assert (
            sorted(f.suffix for f in (tmp_path / kind / "figures").iterdir()) == [".png", ".svg"][: 1 + (kind == "svg")]
        )
    assert ">x in LixFePO4<" in (tmp_path / "svg" / "figures" / "map.svg").read_text("utf-8")
    fails(run("fit", "a", "--out", tmp_path / "r", "--figures", "pdf"), 2, "png or svg")


def test_version():
    result = run("--version")
    assert result.exit_code == 0
    assert __version__ in result.stdout


def test_usage_errors(tmp_path):
    fails(run(), 2, "command")
    fails(run("fit", "--out", tmp_path / "r"), 2)
    fails(run("demo", "--out", tmp_path / "r", "--shape", "wide"), 2, "rows x columns")
    fails(run("fit", "a", "--out", tmp_path / "r", "--valence", "magic"), 2, "continuum or plasmon")
    fails(run("fit", "a", "--out", tmp_path / "r", "--elements", "Li,,Fe"), 2, "symbols")
    fails(run("fit", "a", "--out", tmp_path / "r", "--recipe", tmp_path / "no.toml"), 2, "recipe")
    scan = ("index", "a", "--phases", "lfp", "--out", tmp_path / "r")
    fails(run(*scan, "--centre", "1.2.3,4"), 2, "column,row")
    fails(run(*scan, "--scale", "nan"), 2, "scale")
    fails(run(*scan, "--scan-shape", f"{10**30},1"), 2, "rows,columns")
    fails(run("compare", "a", "b", "--out", tmp_path / "r", "--bias", "0,nan"), 2, "potentials")
    fails(run("compare", "a", "b", "--out", tmp_path / "r", "--region", "8:2,0:3"), 2, "region")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "text",
    ["elements = 5", "thickness = 1" + "0" * 400, 'k_factors = ["a"]', "references = { LFP = 5 }", "references = {}"],
)
def test_recipes_of_the_wrong_kind(text, tmp_path):
    (tmp_path / "recipe.toml").write_text(text)
    key = text.partition(" ")[0]
    fails(run("fit", "a", "--out", tmp_path / "r", "--recipe", tmp_path / "recipe.toml"), 2, key[1:6])


def test_info_where_something_is_broken(monkeypatch):
    monkeypatch.setattr("hyperspy_assb.installation.cache_directory", lambda kind: Path("/nowhere") / kind)
    result = run("info")
    assert result.exit_code == 0, result.output
    assert "not known" in result.stdout


def test_info():
    result = run("info")
    assert result.exit_code == 0, result.output
    for word in ("numba", "cores in use", "templates", "registered with HyperSpy"):
        assert word in result.stdout
    assert str(Path.home()) not in result.stdout


@pytest.fixture
def toys(monkeypatch):
    """Analyses that write one file: what is looked at is the command."""
    from hyperspy_assb.batching import work
    from hyperspy_assb.report.output import write_record

    def toy(files, options, folder, progress):
        progress("fit", 1, 1)
        if files[0].stat().st_size == 0:
            raise RuntimeError("none of the usual errors")
        write_record(folder, {"action": "toy", "versions": {}}, findings=["found"], warnings=["warned"])
        (folder / "report.html").write_text(str(options))
        return work.Told(("found",), ("warned",))

    for kind in work._WORK:
        monkeypatch.setitem(work._WORK, kind, toy)


def test_several_files_of_which_some_are_done_or_broken(toys, tmp_path):
    files = [tmp_path / f"{name}.dm4" for name in "abcd"]
    for number, file in enumerate(files):
        file.write_bytes(b"x" * (number != 1))
    out = tmp_path / "out"
    assert run("fit", files[0], "--out", out / "a").exit_code == 0
    first = run("fit", *files[:3], "--out", out)
    assert first.exit_code == 1
    assert "Error: RuntimeError: none of the usual errors" in first.stderr
    assert "Was there already" in first.stdout
    assert sorted(p.name for p in out.iterdir()) == ["a", "c", "index.html", "logs", "status.csv"]
    second = run("fit", files[0], files[2], files[3], "--out", out)
    assert second.exit_code == 0
    assert second.stdout.count("Was there already") == 2
    assert second.stdout.count("Written") == 1
    other = run("fit", files[0], files[3], "--out", out, "--elements", "Li")
    assert other.exit_code == 1
    assert other.stderr.count("Make it again with --force") == 2
    assert run("fit", files[0], files[3], "--out", out, "--elements", "Li", "--force").exit_code == 0
    assert run("index", files[0], files[2], "--phases", "lfp", "--out", tmp_path / "i").exit_code == 0
    assert run("compare", files[0], files[2], "--out", tmp_path / "c").exit_code == 0
    assert "Was there already" in run("compare", files[0], files[2], "--out", tmp_path / "c").stdout


def test_options_become_those_of_a_step(toys, tmp_path):
    (tmp_path / "a.dm4").write_bytes(b"x")
    (tmp_path / "masks.npz").write_bytes(b"x")
    (tmp_path / "mine.cif").write_bytes(b"x")
    arguments = ("--references", tmp_path / "masks.npz", "--elements", "Li,Fe", "--k-factors", tmp_path / "mine.cif")
    assert run("fit", tmp_path / "a.dm4", "--out", tmp_path / "fit", *arguments, "--no-absorption").exit_code == 0
    told = (tmp_path / "fit" / "report.html").read_text()
    assert f"'references': ['{tmp_path / 'masks.npz'}']" in told
    assert "'elements': ['Li', 'Fe']" in told
    assert "'absorption': False" in told
    phases = f"lfp,{tmp_path / 'mine.cif'}"
    assert (
        run("index", tmp_path / "a.dm4", "--out", tmp_path / "i", "--phases", phases, "--centre", "1,2").exit_code == 0
    )
    told = (tmp_path / "i" / "report.html").read_text()
    assert f"'phases': ['lfp', '{tmp_path / 'mine.cif'}']" in told
    assert "'centre': [1.0, 2.0]" in told or "'centre': (1.0, 2.0)" in told


def test_batch(toys, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.dm4").write_bytes(b"x")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('inputs.maps = "*.dm4"\nanalysis.fit.input = "map"\n')
    fails(run("batch", recipe, "--out", tmp_path / "out"), 2, "did you mean 'maps'")
    assert not (tmp_path / "out").exists()
    recipe.write_text('inputs.maps = "*.dm4"\nanalysis.fit.input = "maps"\n')
    result = run("batch", recipe, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert "2 written" in result.stderr
    assert "index.html" in result.stdout
    (tmp_path / "b.dm4").write_bytes(b"")
    result = run("--verbose", "batch", recipe, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "fit/b: out of date" in result.stderr
    assert "--update" in result.stderr
    result = run("batch", recipe, "--out", tmp_path / "out", "--update")
    assert result.exit_code == 1
    assert "fit/b: failed: RuntimeError" in result.stderr
    # What was whole stays until something whole replaces it.
    assert (tmp_path / "out" / "fit" / "b" / "report.html").exists()


def test_a_batch_that_is_stopped_keeps_what_is_done(toys, tmp_path, monkeypatch):
    from hyperspy_assb.batching import work

    for name in "abc":
        (tmp_path / f"{name}.dm4").write_bytes(b"x")
    toy = work._WORK["fit"]

    def stop(files, *rest):
        if files[0].stem == "b":
            raise KeyboardInterrupt
        return toy(files, *rest)

    monkeypatch.setitem(work._WORK, "fit", stop)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('inputs.maps = "*.dm4"\nanalysis.fit.input = "maps"\n')
    fails(run("batch", recipe, "--out", tmp_path / "out"), 130, "continues from there")
    assert [path.name for path in (tmp_path / "out" / "fit").iterdir()] == ["a"]
    assert "2 still to come" in (tmp_path / "out" / "index.html").read_text("utf-8")
    monkeypatch.setitem(work._WORK, "fit", toy)
    result = run("batch", recipe, "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert "2 written, 1 done before" in result.stderr or "1 done before, 2 written" in result.stderr


@pytest.mark.slow
def test_fit_refusal_force_and_references(spectra, battery, tmp_path):
    masks = {name: battery.truth.after.pure(name) for name in ("LiFePO4", "FePO4")}
    np.savez(tmp_path / "masks.npz", **masks)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('references = "masks.npz"\n')
    out = tmp_path / "result"
    out.mkdir()
    (out / "old.txt").write_text("old")
    fails(run("fit", spectra, "--out", out), 1, "not empty")
    fails(run("fit", spectra, "--out", out, "--force"), 1, "not a result")
    (out / "provenance.json").write_text('{"action": "fit", "versions": {}}')
    result = run("fit", spectra, "--out", out, "--recipe", recipe, "--force")
    assert result.exit_code == 0, result.output
    assert "x in LixFePO4 is" in result.stdout
    assert {p.name for p in out.iterdir()} >= {"report.html", "table.csv", "provenance.json", "maps", "figures"}
    assert not (out / "old.txt").exists()
    assert (out / "delithiation.hspy").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--elements", "Xx"), "not the symbol"),
        (("--references", "LiFePO4=0:99,0:2"), "beyond"),
        (("--references", "LiFePO4=0:9"), "navigation axes"),
        (("--references", "missing.npz"), "no file"),
    ],
)
def test_bad_requests_leave_nothing(spectra, tmp_path, arguments, words):
    fails(run("fit", spectra, "--out", tmp_path / "result", *arguments), 1, words)
    assert not list(tmp_path.iterdir())


class TestXRays:
    """Maps of X-rays take the same command."""

    def test_phases_with_a_table_of_factors(self, edx, tmp_path):
        lines = {"C_Ka": 3.0, "O_Ka": 1.6, "Al_Ka": 1.1, "P_Ka": 1.0, "V_Ka": 1.3, "Fe_Ka": 1.35, "Ge_Ka": 2.0}
        table = tmp_path / "factors.csv"
        table.write_text("line,factor\n" + "".join(f"{line},{k}\n" for line, k in lines.items()))
        recipe = tmp_path / "recipe.toml"
        recipe.write_text('k_factors = "factors.csv"\nthickness = 90.0\n')
        out = tmp_path / "result"
        result = run("fit", edx, "--out", out, "--recipe", recipe, "--correct-energy")
        assert result.exit_code == 0, result.output
        assert "factors.csv" in result.stdout
        assert (out / "phases.hspy").exists()
        assert "factors.csv" in (out / "report.html").read_text(encoding="utf-8")

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("--references", "LiFePO4=0:2,0:2"), "take no references"),
            (("--elements", "Fe,Xx"), "Xx"),
            (("--k-factors", "missing.csv"), "no file"),
        ],
    )
    def test_bad_requests_leave_nothing(self, edx, tmp_path, arguments, words):
        fails(run("fit", edx, "--out", tmp_path / "result", *arguments), 1, words)
        assert not list(tmp_path.iterdir())

    def test_what_is_missing_is_told_with_the_option(self, tmp_path):
        signal = micro_battery(shape=(8, 8), seed=3).edx_after
        del signal.metadata.Acquisition_instrument.TEM.beam_current
        signal.save(tmp_path / "edx.hspy")
        fails(run("fit", tmp_path / "edx.hspy", "--out", tmp_path / "r"), 1, "beam_current", "--thickness")
        assert not (tmp_path / "r").exists()


MINE = """
[[material]]
name = "titania"
formula = "TiO2"
cif = "titania.cif"
colour = "#123456"
sources = ["made up"]
"""
TITANIA = """data_titania
_cell_length_a 4.594
_cell_length_b 4.594
_cell_length_c 2.959
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 42/m n m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Ti1 Ti 0 0 0
O1 O 0.305 0.305 0
"""


class TestMaterials:
    """The user's own table, on every command that asks for materials."""

    @pytest.fixture
    def mine(self, tmp_path):
        folder = tmp_path / "own"
        folder.mkdir()
        (folder / "mine.toml").write_text(MINE)
        (folder / "titania.cif").write_text(TITANIA)
        return folder / "mine.toml"

    def test_edx_with_phases_of_their_own(self, edx, mine, tmp_path):
        out = tmp_path / "result"
        lines = ["P_Ka", "C_Ka", "O_Ka", "Al_Ka", "V_Ka", "Fe_Ka", "Ge_Ka"]
        known = zip(lines, true_k_factors(lines), strict=True)
        factors = tmp_path / "factors.csv"
        factors.write_text("line,factor\n" + "".join(f"{line},{k}\n" for line, k in known))
        command = ("fit", edx, "--out", out, "--materials", mine, "--phases", "LiFePO4,LAGP,carbon,titania")
        fails(run(*command, "--k-factors", factors), 1, "Ti", "k_factors")
        factors.write_text(factors.read_text() + "Ti_Ka,1.2\n")
        result = run(*command, "--k-factors", factors)
        assert result.exit_code == 0, result.output
        assert "titania" in result.stdout
        assert "titania" in (out / "report.html").read_text(encoding="utf-8")

    def test_index_with_phases_of_their_own(self, scan, mine, tmp_path):
        out = tmp_path / "maps"
        result = run("index", scan, "--materials", mine, "--phases", "lfp,TITANIA", "--out", out, "--no-calibrate")
        assert result.exit_code == 0, result.stderr
        assert "titania" in (out / "report.html").read_text("utf-8")

    @pytest.mark.parametrize("command", [("fit",), ("index", "--phases", "titania")])
    def test_a_wrong_row_is_told_with_its_file(self, command, spectra, mine, tmp_path):
        name, *more = command
        arguments = (name, spectra, "--out", tmp_path / "result", *more, "--materials")
        mine.write_text(MINE.replace("TiO2", "TiOx2"))
        fails(run(*arguments, mine), 1, "mine.toml", "material 'titania'", "TiOx2")
        fails(run(*arguments, tmp_path / "none.toml"), 1, "no table of materials", "none.toml")
        fails(run(*arguments, tmp_path), 1, "is not a file")
        assert not (tmp_path / "result").exists()

    def test_phases_are_refused_where_they_mean_nothing(self, spectra, edx, mine, tmp_path):
        out = tmp_path / "result"
        fails(run("fit", spectra, "--out", out, "--phases", "titania", "--materials", mine), 1, "--references")
        fails(run("fit", edx, "--out", out, "--phases", "kryptonite"), 1, "kryptonite", "There are")
        fails(run("fit", edx, "--out", out, "--phases", "lfp,,fp"), 2, "between commas")


def test_compare(battery, spectra, tmp_path):
    before = tmp_path / "before.hspy"
    battery.eels_before.save(before)
    out = tmp_path / "comparison"
    result = run("compare", before, spectra, "--out", out, "--region", "0:12,0:10", "--permutations", 99)
    assert result.exit_code == 0, result.output
    assert {p.name for p in out.iterdir()} >= {"report.html", "bands.csv", "clusters.csv", "states.csv", "figures"}
    assert (out / "figures" / "comparison.png").exists()
    assert (out / "comparison.hspy").exists()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "valence transitions" in page
    assert "Maris" in page


def test_compare_refusals(spectra, tmp_path):
    out = tmp_path / "comparison"
    fails(run("compare", spectra, "--out", out), 2, "two files")
    fails(run("compare", spectra, spectra, "--out", out, "--bias", "0,a"), 2, "numbers")
    fails(run("compare", spectra, spectra, "--out", out, "--bias", "0,1,2"), 2, "2 files")
    fails(run("compare", spectra, spectra, "--out", out, "--region", "left"), 2, "y0:y1")
    fails(run("compare", spectra, spectra, "--out", out, "--normalisation", "magic"), 2, "log_ratio")
    fails(run("compare", spectra, spectra, "--out", out, "--zero-loss", "magic"), 2, "common")
    fails(run("compare", spectra, tmp_path / "none.hspy", "--out", out), 1, "no file")
    fails(run("compare", spectra, spectra, "--out", out, "--region", "0:99,0:2"), 1, "does not fit")
    assert not out.exists()


def test_bad_files(spectra, tmp_path):
    out = tmp_path / "result"
    fails(run("fit", tmp_path / "none.hspy", "--out", out), 1, "no file")
    empty = tmp_path / "empty.hspy"
    empty.write_bytes(b"")
    fails(run("fit", empty, "--out", out), 1, "empty")
    truncated = tmp_path / "truncated.hspy"
    truncated.write_bytes(spectra.read_bytes()[:20000])
    fails(run("fit", truncated, "--out", out), 1, "could not be read")
    assert not out.exists()


def test_unwritable_target_is_said_before_anything_is_read(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    fails(run("fit", tmp_path / "none.hspy", "--out", file / "result"), 1, "cannot be written")
    fails(run("demo", "--out", file), 1, "is a file")


@pytest.mark.slow
def test_demo(tmp_path):
    result = run("demo", "--out", tmp_path / "demo", "--shape", "20x20")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    for words in (
        "the truth of the same",
        "arbon is not among the references",
        "FePO4 is found in",
        "recorded electrons",
    ):
        assert words in page
    assert (tmp_path / "demo" / "after" / "table.csv").exists()
    figures = {path.stem for path in (tmp_path / "demo" / "figures").iterdir()}
    assert figures >= {"before_after_olivine", "delithiation_change", "populations_before", "populations_after"}


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """Patterns of six crystals in a row of three, twice, and of nothing."""
    from hyperspy_assb.simulation import DiffractionConditions
    from hyperspy_assb.simulation.acom.scan import simulate_scan
    from hyperspy_assb.simulation.lamella import build_lamella

    state = build_lamella((6, 8), np.random.default_rng(5)).after
    path = tmp_path_factory.mktemp("scan") / "scan.hspy"
    simulate_scan(state, DiffractionConditions().with_shape((64, 64)), pixel_size=20.0).save(path)
    return path


def test_index(scan, tmp_path):
    import hyperspy_assb

    out = tmp_path / "maps"
    result = run("index", scan, "--phases", "lfp,fp", "--out", out, "--no-calibrate")
    assert result.exit_code == 0, result.stderr
    assert "Area: " in result.stdout
    assert "LiFePO4" in result.stdout
    maps = hyperspy_assb.load(out / "orientations.hspy")
    assert maps.found.phase.shape == (6, 8)
    assert {p.name for p in maps.phases} == {"LiFePO4", "FePO4"}
    page = (out / "report.html").read_text("utf-8")
    for word in ("Findings", "Patterns and templates", "Area fractions", "scan.hspy", "Works to cite"):
        assert word in page
    for name in (
        "fractions.csv",
        "grains.csv",
        "boundaries.csv",
        "orientations.ang",
        "particles.csv",
        "tests.csv",
        "provenance.json",
        "figures/maps.png",
    ):
        assert (out / name).stat().st_size > 0
    assert len(list((out / "maps").glob("*.hspy"))) == 8


def test_a_hostile_cif_runs_nothing(scan, tmp_path):
    marker = tmp_path / "was here"
    payload = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    operations = f"loop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n\"x,y,{payload}\"\n"
    evil = tmp_path / "evil.cif"
    evil.write_text(TITANIA.replace("_symmetry_space_group_name_H-M 'P 42/m n m'\n", operations))
    table = tmp_path / "evil.toml"
    table.write_text('[[material]]\nname = "evil"\nformula = "TiO2"\ncif = "evil.cif"\n')
    out = tmp_path / "maps"
    fails(run("index", scan, "--phases", f"lfp,{evil}", "--out", out), 1, "evil.cif", "operation")
    fails(run("index", scan, "--phases", "evil", "--materials", table, "--out", out), 1, "evil.toml", "evil.cif")
    assert not marker.exists()
    assert not out.exists()


def test_index_refusals(scan, tmp_path):
    out = tmp_path / "maps"
    fails(run("index", scan, "--phases", ",", "--out", out), 2, "at least one phase")
    fails(run("index", scan, "--phases", "lfp", "--out", out, "--centre", "left"), 2, "column,row")
    fails(run("index", tmp_path / "none.blo", "--phases", "lfp", "--out", out), 1, "no file", "none.blo")
    fails(run("index", scan, "--phases", "lfp,quartz", "--out", out), 1, "quartz")
    fails(run("index", scan, "--phases", "carbon", "--out", out), 1, "carbon", "amorphous")
    fails(run("index", scan, "--phases", "missing.cif", "--out", out), 1, "missing.cif")
    fails(run("index", scan, "--phases", "lfp", "--out", out, "--centre", "900,3"), 1, "outside of the frame")
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_commands_that_are_killed_and_started_again(tmp_path):
    script = Path(__file__).with_name("kill_commands.py")
    command = [
        sys.executable,
        "-W",
        "ignore",
        str(script),
        str(tmp_path),
        "8",
        "11",
        "SIGKILL",
        "fit",
        "compare",
        "index",
        "batch",
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name, told in json.loads(done.stdout.splitlines()[-1]).items():
        # What a batch has done is not done again, so that it soon ends before it is killed.
        assert told["killed"] >= (1 if name == "batch" else 4), name
        assert told["arrays"] > 0
        assert (told["code"], told["differ"], told["left"]) == (0, [], []), name


def test_how_a_file_is_read_is_said_once_for_every_command(tmp_path, spectra):
    fails(run("fit", spectra, "--out", tmp_path / "r", "--signal-type", "magic"), 2, "EELS, EDS")
    fails(run("index", spectra, "--phases", "lfp", "--out", tmp_path / "r", "--signal-type", "EELS"), 2, "ACOM")
    fails(run("series", spectra, "--out", tmp_path / "r", "--signal-type", "EELS"), 2, "STEM_SERIES")
    fails(run("compare", spectra, spectra, "--out", tmp_path / "r", "--dataset", "core loss"), 1, "core loss", "0: '")
    fails(run("series", spectra, "--out", tmp_path / "r", "--dataset", "7"), 1, "7", "0: '")
    fails(run("index", spectra, "--phases", "lfp", "--out", tmp_path / "r", "--reader", "USID"), 1, "USID")
    fails(run("fit", spectra, "--out", tmp_path / "r", "--signal-type", "EDS"), 1)


def test_a_file_that_does_not_say_what_it_holds(tmp_path, spectra):
    import hyperspy.api as hs

    signal = hs.signals.Signal1D(np.full((2, 64), 5.0))
    signal.save(tmp_path / "map.hspy")
    fails(run("fit", tmp_path / "map.hspy", "--out", tmp_path / "r"), 1, "does not say", "--signal-type")


REAL = [
    "files/test-3.dm4",
    "files/py4DSTEM_size2x3x4x5.h5",
    "files/16x16-line_profile_horizontal_5x128x128_EDS.emi",
    "files/EELS_SI.dm4",
    "files/SI_empty_selection.emd",
    "files/HAADFscan.mrc",
    "eels/nmc_battery/XAS_622.csv",
    "eels/deconvolution_truth/ssd_ground_truth.hspy",
]


@pytest.mark.parametrize("name", REAL)
def test_real_files_that_hold_no_low_loss(name, shared_data, tmp_path):
    result = run("fit", shared_data / name, "--out", tmp_path / "r")
    fails(result, 1)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert not any(kind in result.stderr for kind in ("AttributeError", "TypeError", "KeyError", "IndexError"))
