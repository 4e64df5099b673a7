"""exspy's own tests of its EELS and TEM X-ray signals, run on ours.

Their modules are executed as they are installed. While they run, ``exspy.signals.EELSSpectrum`` and ``EDSTEMSpectrum``
are our classes, and what exspy loads from files is converted to them; so wherever they make or load such a signal they
get an ``ASSBEELSSpectrum`` or ``ASSBEDSTEMSpectrum``, or its lazy twin.
"""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import exspy
import hyperspy.api as hs
import matplotlib as mpl
import matplotlib.pyplot as plt
import pooch
import pytest
from cycler import cycler
from hyperspy.model import BaseModel
from hyperspy.signals import BaseSignal

from hyperspy_assb.signals import (
    ASSBEDSTEMSpectrum,
    ASSBEELSSpectrum,
    LazyASSBEDSTEMSpectrum,
    LazyASSBEELSSpectrum,
)

# Their warnings are exspy's own affair.
pytestmark = pytest.mark.filterwarnings("default")

FOLDER = Path(exspy.__file__).parent / "tests"
if not FOLDER.is_dir():
    pytest.skip("exspy is installed without its tests", allow_module_level=True)

ORIGINALS = {exspy.signals.EELSSpectrum: ASSBEELSSpectrum, exspy.signals.EDSTEMSpectrum: ASSBEDSTEMSpectrum}
SIGNAL_TYPES = {"EELS": "EELS_ASSB", "EDS_TEM": "EDS_TEM_ASSB"}

# Test of exspy -> why it says nothing about our class.
NOT_APPLICABLE = {
    "test_binned.test_dielectric_function_binned_default": "about DielectricFunction",
    "test_binned.test_signal_binned_default": "about HyperSpy's BaseSignal",
    "test_binned.test_eds_sem_binned_default": "about EDSSEMSpectrum",
    "test_eels.test_spikes_diagnosis_constant_derivative": "about HyperSpy's Signal1D, no EELS signal in it",
    "test_assign_subclass.TestConvertSigna.test_signal1d_to_eds_sem": "about EDSSEMSpectrum",
    "test_assign_subclass.TestConvertSigna.test_error_None": "about HyperSpy's own error, no EELS signal in it",
    "test_assign_subclass.TestConvertComplexSignal1D.test_complex_to_dielectric_function": "about DielectricFunction",
    "test_assign_subclass.test_complex_to_dielectric_function": "about DielectricFunction",
}
# These take four fifths of the time: they draw figures of whole spectra and fit many lines.
SLOW = {
    "test_eds_tem.Test_quantification",
    "test_eds_tem.Test_eds_markers",
    "test_eds_tem.test_decomposition",
    "test_eds_tem.test_plot_windows",
    "test_edges_range.Test_EdgesRange",
    "test_edsmodel.TestMaps",
    "test_edsmodel.TestlineFit",
    "test_edsmodel.test_comparison_quantification",
    "test_eels.Test_Plot_EELS",
}
# Most tests of exspy's model add ionisation edges, for which it downloads 300 MB of generalised oscillator strengths.
# They are run where these are cached, and else skipped for this reason; nothing is downloaded.
NEEDS_NETWORK = "needs the network: exspy downloads generalised oscillator strengths"
# Here the signal type is the subject, or set by name: "EELS" and "EDS_TEM" are ours under other names.
SIGNAL_TYPE_REPLACED = {"test_assign_subclass", "test_edsmodel", "test_eds_tem"}
MODULES = (
    "signals/test_eels",
    "signals/test_kramers_kronig_transform",
    "signals/test_binned",
    "signals/test_edges_range",
    "signals/test_assign_subclass",
    "signals/test_eds_tem",
    "models/test_eelsmodel",
    "models/test_edsmodel",
    "test_non-uniform_not-implemented",
)


def _convert(signal):
    for one in signal if isinstance(signal, list) else [signal]:
        if (ours := SIGNAL_TYPES.get(one.metadata.Signal.signal_type)) is not None:
            one.set_signal_type(ours)
    return signal


@pytest.fixture(autouse=True, scope="module")
def our_class_in_exspy():
    """Our classes in place of exspy's, also for what is loaded from files."""
    # exspy 0.3.2 joins the colours of the cycle as text; matplotlib 3.11 gives them as numbers.
    colours = {"axes.prop_cycle": cycler(color=["#1f77b4", "#ff7f0e", "#2ca02c"])}
    with pytest.MonkeyPatch.context() as patch, mpl.rc_context(colours):
        _replace(patch)
        yield
    plt.close("all")


def _no_download(*args, **kwargs):
    pytest.skip(NEEDS_NETWORK)


def _replace(patch: pytest.MonkeyPatch) -> None:
    load, retrieve = hs.load, pooch.retrieve
    patch.setattr(pooch, "retrieve", lambda *args, **kwargs: retrieve(*args, **{**kwargs, "downloader": _no_download}))
    patch.setattr(exspy.signals, "EELSSpectrum", ASSBEELSSpectrum)
    patch.setattr(exspy.signals, "LazyEELSSpectrum", LazyASSBEELSSpectrum)
    patch.setattr(exspy.signals, "EDSTEMSpectrum", ASSBEDSTEMSpectrum)
    patch.setattr(exspy.signals, "LazyEDSTEMSpectrum", LazyASSBEDSTEMSpectrum)
    # Their helper that simulates spectra imports the class from its own module.
    patch.setattr(exspy.signals.eds_tem, "EDSTEMSpectrum", ASSBEDSTEMSpectrum)
    patch.setattr(hs, "load", lambda *args, **kwargs: _convert(load(*args, **kwargs)))
    for name in ("EELS_MnFe", "EDS_TEM_FePt_nanoparticles"):
        patch.setattr(exspy.data, name, _converting(getattr(exspy.data, name)))


def _converting(measured):
    return lambda *args, **kwargs: _convert(measured(*args, **kwargs))


def _import(name: str) -> ModuleType:
    path = FOLDER / f"{name}.py"
    name = path.stem
    spec = importlib.util.spec_from_file_location(f"_exspy_{name}", path)
    module = importlib.util.module_from_spec(spec)
    source = path.read_text(encoding="utf-8")
    if name in SIGNAL_TYPE_REPLACED:
        for theirs, ours in SIGNAL_TYPES.items():
            source = source.replace(f'"{theirs}"', f'"{ours}"')
    # KKA imports the class by name, so it must be ours already when the module is executed.
    with pytest.MonkeyPatch.context() as patch:
        _replace(patch)
        exec(compile(source, str(path), "exec"), module.__dict__)
    return module


def _collect(module_name: str, module: ModuleType) -> dict[str, object]:
    found = {}
    for name, item in vars(module).items():
        key = f"{module_name}.{name}"
        if key in SLOW:
            item = pytest.mark.slow(item)
        if name.startswith("test_") and inspect.isfunction(item):
            found[f"test_exspy_{module_name[5:]}_{name[5:]}".replace("-", "_")] = _mark(key, item)
        elif name.startswith("Test") and inspect.isclass(item):
            for method_name in [m for m in dir(item) if m.startswith("test_")]:
                if f"{key}.{method_name}" in NOT_APPLICABLE:
                    setattr(item, method_name, _mark(f"{key}.{method_name}", getattr(item, method_name)))
            found[f"TestExspy_{module_name[5:]}_{name}"] = item
    return found


def _mark(key: str, item):
    return pytest.mark.skip(reason=f"does not apply: {NOT_APPLICABLE[key]}")(item) if key in NOT_APPLICABLE else item


_MODULES = {name.split("/")[-1]: _import(name) for name in MODULES}
COLLECTED = {new: item for name, module in _MODULES.items() for new, item in _collect(name, module).items()}
globals().update(COLLECTED)


def _signals_made_by_setup() -> list:
    return [name for name, item in COLLECTED.items() if inspect.isclass(item) and hasattr(item, "setup_method")]


@pytest.mark.parametrize("name", _signals_made_by_setup())
def test_guard_signals_of_the_tests_are_ours(name):
    """What exspy's tests work on is really our class: otherwise they would prove nothing."""
    instance = COLLECTED[name]()
    setup = instance.setup_method
    setup(*[None] * len(inspect.signature(setup).parameters))
    values = list(vars(instance).values())
    values += [value.signal for value in values if isinstance(value, BaseModel)]
    signals = [value for value in values if isinstance(value, BaseSignal)]
    assert signals
    theirs = [signal for signal in signals if isinstance(signal, tuple(ORIGINALS))]
    assert theirs or "assign_subclass" in name
    assert all(isinstance(signal, tuple(ORIGINALS.values())) for signal in theirs)
    assert all(signal.metadata.Signal.signal_type in SIGNAL_TYPES.values() for signal in theirs)


@pytest.mark.parametrize(
    ("name", "ours", "lazy"),
    [
        ("EELSSpectrum", ASSBEELSSpectrum, LazyASSBEELSSpectrum),
        ("EDSTEMSpectrum", ASSBEDSTEMSpectrum, LazyASSBEDSTEMSpectrum),
    ],
)
def test_guard_lazy_signals_are_ours(name, ours, lazy):
    signal = getattr(exspy.signals, name)([[0.0, 1.0], [2.0, 3.0]])
    assert type(signal) is ours
    assert type(signal.as_lazy()) is lazy


def test_guard_the_table_names_existing_tests():
    for key in [*NOT_APPLICABLE, *SLOW]:
        module, *path = key.split(".")
        item = _MODULES[module]
        for part in path:
            item = getattr(item, part)


def test_guard_most_of_exspy_is_collected():
    functions = [f for item in COLLECTED.values() for f in (dir(item) if inspect.isclass(item) else ["test_"])]
    assert sum(name.startswith("test_") for name in functions) > 120
