"""Recipes are checked as a whole, before anything runs."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest

from hyperspy_assb.batching.options import RecipeError
from hyperspy_assb.batching.recipes import plan, read_recipe

OUT = Path("/results")
WHOLE: dict[str, Any] = {
    "inputs": {
        "maps": "raw/m*.hspy",
        "standard": "raw/standard.hspy",
        "cells": {"before": "cells/*_before.hspy", "after": "cells/*_after.hspy"},
        "ramp": {"files": ["raw/m1.hspy", "raw/m2.hspy"], "bias": [0, 2.5]},
    },
    "references": {
        "pure": {"LiFePO4": "0:8, 0:8", "FePO4": ["20:30,4:12", "1:2,3:4"]},
        "masks": "masks.npz",
        "calibrated": {"analysis": "calibrate"},
    },
    "analysis": {
        "fit": {"input": "maps", "references": "calibrated", "elements": ["Li", "Fe"]},
        "calibrate": {"kind": "fit", "input": "standard", "references": "pure"},
        "masked": {"kind": "fit", "input": "maps", "references": "masks"},
        "compare": {"input": "cells", "permutations": 99, "region": "0:4, 0:8"},
        "series": {"kind": "compare", "input": "ramp"},
        "index": {"input": "standard", "phases": ["lfp", "cifs/mine.cif"], "centre": [1, 2]},
        "edx": {"kind": "quantify", "input": "standard", "k_factors": "factors.csv", "thickness": 90},
        "edge": {"kind": "interface", "input": "standard", "probe": 1.5},
    },
    "outputs": {"fit": "fits/{name}"},
}
FILES = (
    "raw/m1.hspy raw/m2.hspy raw/standard.hspy cells/a_before.hspy cells/a_after.hspy cells/b c_before.hspy "
    "cells/b c_after.hspy masks.npz cifs/mine.cif factors.csv"
).replace("b c", "b\0c")


@pytest.fixture
def base(tmp_path):
    for name in FILES.split(" "):
        path = tmp_path / name.replace("\0", " ")
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def test_a_whole_recipe(base):
    steps = {step.name: step for step in plan(WHOLE, base, OUT)}
    assert list(steps).index("calibrate/standard") < list(steps).index("fit/m1")
    fit = steps["fit/m2"]
    assert fit.files == (base / "raw" / "m2.hspy",)
    assert fit.folder == OUT / "fits" / "m2"
    assert fit.options == {"elements": ["Li", "Fe"], "references": ["result of calibrate"]}
    assert fit.needs == {"result of calibrate": "calibrate/standard"}
    assert steps["calibrate/standard"].options["references"] == [
        "LiFePO4=0:8,0:8",
        "FePO4=20:30,4:12",
        "FePO4=1:2,3:4",
    ]
    assert steps["masked/m1"].reads == {"masks.npz": base / "masks.npz"}
    assert steps["compare/b c"].files == (base / "cells/b c_before.hspy", base / "cells/b c_after.hspy")
    assert steps["compare/a"].options == {"permutations": 99, "region": "0:4,0:8"}
    assert steps["series/ramp"].options == {"bias": [0.0, 2.5]}
    assert steps["index/standard"].options["phases"] == ["lfp", "mine.cif"]
    assert steps["index/standard"].reads == {"mine.cif": base / "cifs" / "mine.cif"}
    assert steps["edx/standard"].options == {"k_factors": "factors.csv", "thickness": 90.0}
    assert len(steps) == 2 + 1 + 2 + 2 + 1 + 1 + 1 + 1


def test_a_file_for_each_item(base):
    for name in ("m1.mpt", "m2.mpt", "beam.hspy"):
        (base / name).touch()
    table = {"kind": "series", "input": "maps", "log": "{name}.mpt", "control": "beam.hspy", "offset": 5}
    steps = {step.name: step for step in plan(changed("analysis", "film", table), base, OUT)}
    assert steps["film/m2"].reads == {"m2.mpt": base / "m2.mpt", "beam.hspy": base / "beam.hspy"}
    assert steps["film/m2"].options == {"log": "m2.mpt", "control": "beam.hspy", "offset": "5.0"}
    # A name is no pattern.
    (base / "raw" / "m2.hspy").rename(base / "raw" / "m[2].hspy")
    with pytest.raises(RecipeError, match="no file"):
        plan(changed("analysis", "film", table), base, OUT)


def test_patterns_do_not_stand_for_results_of_earlier_runs(tmp_path):
    (tmp_path / "a.hspy").touch()
    recipe = {"inputs": {"maps": "**/*.hspy"}, "analysis": {"fit": {"input": "maps"}}}
    for out in (tmp_path, tmp_path / "out"):
        result = out / "fit" / "a"
        (result / "maps").mkdir(parents=True)
        (result / "maps" / "x.hspy").touch()
        (result / "provenance.json").write_text('{"action": "fit", "versions": {}}')
        assert [step.name for step in plan(recipe, tmp_path, out)] == ["fit/a"]
        recipe["inputs"]["maps"] = ["a.hspy", str(result / "maps" / "x.hspy")]  # by name it is meant
        assert [step.name for step in plan(recipe, tmp_path, out)] == ["fit/a", "fit/x"]
        recipe["inputs"]["maps"] = "**/*.hspy"
        shutil.rmtree(out / "fit")


def changed(*path_and_value):
    *path, last, value = path_and_value
    recipe = copy.deepcopy(WHOLE)
    node = recipe
    for key in path:
        node = node[key]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return recipe


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (changed("input", {}), "did you mean 'inputs'"),
        (changed("inputs", {}), r"no \[inputs\]"),
        (changed("analysis", None), r"no \[analysis\]"),
        (changed("outputs", 3), r"\[outputs\] of the recipe must be a table"),
        (changed("inputs", "maps", "raw/*.dm4"), "no file raw/.*dm4"),
        (changed("inputs", "maps", 3), "must be the name of a file"),
        (changed("inputs", "maps", "a\0b"), "must be the name of a file"),
        (changed("inputs", "maps", []), "must be the name of a file"),
        (changed("inputs", "maps", "~nobody of that name/a.hspy"), "can be no file"),
        (changed("inputs", "maps", "m" * 5000), "can be no file"),
        (changed("inputs", 7, "raw/m1.hspy"), "keys are texts"),
        (changed("inputs", "cells", "after", "cells/a_after.hspy"), "no file"),
        (changed("inputs", "cells", {"before": "raw/m1.hspy", "after": "raw/m1.hspy"}), "before and after"),
        (changed("inputs", "ramp", "bias", [0, float("nan")]), "potentials in V"),
        (changed("inputs", "ramp", "bias", [0, 10**400]), "potentials in V"),
        (changed("inputs", "cells", "afterwards", "x"), "did you mean 'after'"),
        (changed("inputs", "ramp", "bias", [0]), "1 potentials for 2 files"),
        (changed("inputs", "ramp", "bias", ["0", "1"]), "potentials in V"),
        (changed("inputs", "ramp", "files", "raw/m1.hspy"), "series of 1"),
        (changed("inputs", "maps", ["raw/m1.hspy", "cells/../raw/m1.hspy", "cells/a_after.hspy"]), None),
        (changed("analysis", "fit", "refrences", "pure"), "did you mean 'references'"),
        (changed("analysis", "fit", "references", "calibrate"), "did you mean 'calibrated'"),
        (changed("analysis", "fit", "references", ["pure"]), "must be a name"),
        (changed("analysis", "fit", "valence", "magic"), "one of continuum, plasmon"),
        (changed("analysis", "fit", "thickness", -1), "a number from"),
        (changed("analysis", "fit", "thickness", True), "a number from"),
        (changed("analysis", "fit", "thickness", float("nan")), "a number from"),
        (changed("analysis", "fit", "absorption", 1), "true or false"),
        (changed("analysis", "fit", "elements", []), "a list such as"),
        (changed("analysis", "fit", "input", "map"), "did you mean 'maps'"),
        (changed("analysis", "fit", "input", None), "needs an input"),
        (changed("analysis", "fit", "kind", "fix"), "needs a kind"),
        (changed("analysis", "fit", 3), "must be a table"),
        (changed("analysis", "compare", "input", "maps"), "takes pairs"),
        (changed("analysis", "compare", "region", "0:,0:8"), "pixels such as"),
        (changed("analysis", "compare", "bias", [1, 2]), "bias stands with the files"),
        (changed("analysis", "compare", "permutations", 10), "whole number from 19"),
        (changed("analysis", "compare", "permutations", 10**30), "whole number from 19"),
        (changed("analysis", "compare", "region", "4:4,0:8"), "pixels such as"),
        (changed("analysis", "compare", "region", "0:" + "9" * 5000), "pixels such as"),
        (changed("analysis", "index", "centre", [10**400, 1]), "list of 2 numbers"),
        (changed("analysis", "index", 7, "x"), "keys are texts"),
        (changed("references", "pure", {"LiFePO4": "8:2,0:3"}), "pixels such as"),
        (changed("analysis", "index", "phases", None), "index needs phases"),
        (changed("analysis", "index", "phases", ["lfp", "cifs/none.cif"]), "no file cifs/none.cif"),
        (changed("analysis", "index", "centre", [1]), "list of 2 numbers"),
        (changed("analysis", "edge", "probe", None), "interface needs probe"),
        (changed("analysis", "edx", "k_factors", "raw/*.hspy"), "stands for 3 files; name one"),
        (changed("analysis", "film", {"kind": "series", "input": "maps", "offset": "begin"}), "s, stamps or steps"),
        (changed("analysis", "film", {"kind": "series", "input": "maps", "log": "{name}.mpt"}), "no file m1.mpt"),
        (changed("analysis", "film", {"kind": "series", "input": "maps", "interval": 0}), "a number from 1e-09"),
        (changed("analysis", "film", {"kind": "series", "input": "maps", "signal_type": "EELS"}), "one of STEM_SERIES"),
        (changed("analysis", "a/b", {"kind": "fit", "input": "maps"}), "no slash"),
        (changed("references", "pure", {"LiFePO4": "left"}), "pixels such as"),
        (changed("references", "masks", "none.npz"), "no file none.npz"),
        (changed("references", "calibrated", {"analysis": "calibrat"}), "did you mean 'calibrate'"),
        (changed("references", "calibrated", {"analysis": "index"}), "no result that"),
        (changed("references", "calibrated", {"analysis": "fit"}), "in a circle"),
        (changed("references", "calibrated", {"analysis": "masked"}), None),
        (changed("analysis", "calibrate", "references", None), "which has no references either"),
        (changed("outputs", "fits", "x"), "did you mean 'fit'"),
        (changed("outputs", "fit", "one"), "would both write to"),
        (changed("outputs", "fit", "../{name}"), "inside that of the batch"),
        (changed("outputs", "fit", "/tmp/{name}"), "inside that of the batch"),
        (changed("outputs", "fit", "C:\\{name}"), "inside that of the batch"),
        (changed("outputs", "fit", "{name.__class__}"), "only {analysis} and {name}"),
        (changed("outputs", "fit", "masked/m1/{name}"), "would write into the folder"),
        (changed("outputs", "fit", "MASKED/{name}"), "would both write to"),
        (changed("outputs", "index", "status.csv"), "which the batch itself writes"),
        (changed("materials", "none.toml"), "no file none.toml"),
    ],
)
def test_errors_before_anything_runs(base, recipe, words):
    if words is None:
        assert plan(recipe, base, OUT)
        return
    with pytest.raises(RecipeError, match=words):
        plan(recipe, base, OUT)


def test_a_pair_that_is_not_complete(base):
    (base / "cells" / "b c_after.hspy").unlink()
    with pytest.raises(RecipeError, match="'b c' has no file after bias"):
        plan(WHOLE, base, OUT)


def test_pairs_by_characters_in_brackets(base):
    names = [f"cells/{cell}_{state}.hspy" for cell in "ab" for state in ("before", "after")]
    for name in names:
        (base / name).touch()
    recipe = changed("inputs", "cells", {"before": "cells/[ab]_before.hspy", "after": "cells/[!c]_after.hspy"})
    steps = {step.name: step for step in plan(recipe, base, OUT)}
    assert steps["compare/b"].files == (base / "cells/b_before.hspy", base / "cells/b_after.hspy")
    assert "compare/a" in steps


def test_two_files_before_bias_for_one_after(base):
    for name in ("p/q", "p_q"):
        for state in ("before", "after"):
            path = base / "deep" / f"{name}_{state}.hspy"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    recipe = changed("inputs", "cells", {"before": "deep/**/*_before.hspy", "after": "deep/**/*_after.hspy"})
    with pytest.raises(RecipeError, match="are both 'p_q' before bias"):
        plan(recipe, base, OUT)


def test_two_files_of_one_name(base):
    (base / "cells" / "m1.hspy").touch()
    with pytest.raises(RecipeError, match="two files named 'm1'"):
        plan(changed("inputs", "maps", ["raw/m*.hspy", "cells/m1.hspy"]), base, OUT)


def test_a_circle_of_two(base):
    recipe = changed("references", "other", {"analysis": "fit"})
    recipe["analysis"]["calibrate"] = {"kind": "fit", "input": "maps", "references": "other"}
    with pytest.raises(RecipeError, match=r"in a circle: .*needs.*needs"):
        plan(recipe, base, OUT)


def test_names_with_brackets_blanks_and_letters_of_other_scripts(tmp_path):
    base = tmp_path / "a [b] ü" / "日本"
    base.mkdir(parents=True)
    for name in ("scan[1].hspy", "scan 2.hspy", "π.hspy"):
        (base / name).touch()
    recipe = {"inputs": {"one": "scan[1].hspy", "all": "*.hspy"}, "analysis": {"fit": {"input": "all"}}}
    assert [s.name for s in plan(recipe, base, OUT)] == ["fit/scan 2", "fit/scan[1]", "fit/π"]
    recipe["analysis"]["fit"]["input"] = "one"
    assert [s.name for s in plan(recipe, base, OUT)] == ["fit/scan[1]"]


@pytest.mark.parametrize("text", [b"a = ", b"\xff", b"x = [" * 5000, b"x = " + b"9" * 5000, None])
def test_files_that_are_no_recipe(text, tmp_path):
    path = tmp_path / "recipe.toml"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(RecipeError, match=r"recipe\.toml"):
        read_recipe(path)


def test_a_mark_at_the_beginning_that_editors_write(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_bytes(b'\xef\xbb\xbfmaterials = "\xc2\xb5.toml"\r\n')
    assert read_recipe(path) == {"materials": "µ.toml"}
