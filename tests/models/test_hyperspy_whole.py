"""What HyperSpy does with a plain model after a batched fit, and all kinds of data that it is fitted to."""

from __future__ import annotations

import tracemalloc

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.fitting.solver.spectra_fit import Status
from hyperspy_assb.models.multifit import FitOptions

C = hs.model.components1D
SIZE = 120


def counts(shape=(3, 4), seed=0):
    x = 0.1 * np.arange(SIZE)
    mean = 60.0 * np.exp(-0.5 * ((x - 5.0) / 1.2) ** 2) + 25.0
    return np.random.default_rng(seed).poisson(mean, (*shape, SIZE)).astype(float)


def modelled(signal):
    axis = signal.axes_manager.signal_axes[0]
    axis.scale = 0.1
    model = signal.create_model()
    model.extend([C.Gaussian(A=150.0, sigma=1.1, centre=5.1), C.Offset(offset=20.0)])
    return model


def make(shape=(3, 4), seed=0):
    return modelled(hs.signals.Signal1D(counts(shape, seed)))


def fit(model, *, store=None, progress=None, **more):
    more.setdefault("options", FitOptions(tolerance=1e-10, store=store, progress=progress))
    return hyperspy_assb.multifit(model, show_progressbar=False, **more)


def maps(model, field="values"):
    return np.stack([p.map[field] for c in model for p in c.parameters], axis=-1)


def state(model):
    kept = [maps(model, field) for field in ("values", "std", "is_set")]
    kept += [np.array([p.value for c in model for p in c.parameters])]
    return [*kept, model.chisq.data.copy(), model.dof.data.copy()]


# ------------------------------------------------------------------------------------------------- the fitted model


def test_what_is_filled_in():
    model = make()
    result = fit(model)
    assert np.all(maps(model, "is_set"))
    assert np.isfinite(maps(model)).all()
    assert np.all(maps(model, "std") > 0)
    np.testing.assert_array_equal(model.chisq.data, result.deviance.reshape(3, 4))
    np.testing.assert_array_equal(model.dof.data, 4)
    np.testing.assert_allclose(model.red_chisq.data, model.chisq.data / (SIZE - 4 - 1))
    assert model.fit_quality.dof.data[0, 0] == SIZE - 4


def test_it_can_be_plotted_and_navigated():
    model = make()
    fit(model)
    model.plot()
    model.plot(plot_components=True)
    for index in ((3, 2), (0, 1), (1, 0)):
        model.axes_manager.indices = index
        assert model["Gaussian"].A.value == model["Gaussian"].A.map["values"][index[::-1]]
        assert model["Gaussian"].A.std == model["Gaussian"].A.map["std"][index[::-1]]
    model["Gaussian"].plot()
    model.fit_quality.deviance.plot()
    plt.close("all")


def test_its_values_as_a_signal():
    model = make()
    fit(model)
    expected = np.empty((3, 4, SIZE))
    x = model.axis.axis
    for index in np.ndindex(3, 4):
        area, centre, sigma = (getattr(model["Gaussian"], n).map["values"][index] for n in ("A", "centre", "sigma"))
        expected[index] = area / sigma / np.sqrt(2 * np.pi) * np.exp(-0.5 * ((x - centre) / sigma) ** 2)
        expected[index] += model["Offset"].offset.map["values"][index]
    np.testing.assert_allclose(model.as_signal(show_progressbar=False).data, expected, rtol=1e-12)
    alone = model.as_signal(component_list=["Offset"], show_progressbar=False)
    np.testing.assert_allclose(alone.data[..., 0], model["Offset"].offset.map["values"])


def test_it_is_stored_and_restored():
    model = make()
    fit(model)
    model.store("fitted")
    other = model.signal.models.restore("fitted")
    for field in ("values", "std", "is_set"):
        np.testing.assert_array_equal(maps(other, field), maps(model, field))
    fit(other)  # from where it ended
    assert np.all(np.abs(maps(other) - maps(model)) < 1e-4 * maps(model, "std"))


def test_it_is_saved_and_loaded(tmp_path):
    model = make()
    fit(model)
    model.save(tmp_path / "model.hspy", name="fitted")
    other = hs.load(tmp_path / "model.hspy").models.restore("fitted")
    for field in ("values", "std", "is_set"):
        np.testing.assert_array_equal(maps(other, field), maps(model, field))
    np.testing.assert_array_equal(other.chisq.data, model.chisq.data)
    fit(other)


def test_it_is_sliced():
    model = make()
    fit(model)
    part = model.inav[1:3, :2]
    np.testing.assert_array_equal(maps(part), maps(model)[:2, 1:3])
    np.testing.assert_array_equal(part.chisq.data, model.chisq.data[:2, 1:3])
    fit(part)
    assert np.all(np.abs(maps(part) - maps(model)[:2, 1:3]) < 1e-4 * maps(part, "std"))
    shorter = model.isig[2.0:10.0]
    fit(shorter)
    assert shorter.fit_quality.dof.data[0, 0] == 80 - 4


def test_values_are_printed(capsys):
    model = make()
    fit(model)
    model.print_current_values()
    model["Gaussian"].print_current_values()
    assert "Gaussian" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.*covariance.*")
def test_hyperspy_goes_on_from_there():
    model = make()
    fit(model)
    model.axes_manager.indices = (2, 1)
    before, std = maps(model).copy(), maps(model, "std")[1, 2]
    model.fit(loss_function="ML-poisson", optimizer="Nelder-Mead", options={"maxiter": 50})
    now = np.array([p.value for c in model for p in c.parameters])
    assert np.all(np.abs(now - before[1, 2]) < 0.05 * std)
    model.fit(optimizer="lm")
    model.axes_manager.indices = (0, 0)
    others = np.ones((3, 4), dtype=bool)
    others[1, 2] = False
    np.testing.assert_array_equal(maps(model)[others], before[others])


def test_components_of_the_same_kind():
    model = make()
    model.append(C.Offset(offset=3.0))
    model[2].offset.free = False
    other = make()
    fit(other)
    fit(model)
    assert [c.name for c in model] == ["Gaussian", "Offset", "Offset_0"]
    np.testing.assert_allclose(model[1].offset.map["values"] + 3.0, other[1].offset.map["values"], rtol=1e-6)
    np.testing.assert_array_equal(model[2].offset.map["values"], 3.0)


@pytest.mark.parametrize("shape", [(), (6,), (2, 3), (2, 3, 2)])
def test_navigation_axes(shape):
    model = make(shape)
    result = fit(model)
    flat = make((max(1, int(np.prod(shape))),))
    fit(flat)
    assert model.chisq.data.size == result.fitted.size == max(1, int(np.prod(shape)))
    assert model.covariance().values.shape == (*shape, 4, 4)
    np.testing.assert_array_equal(maps(model).reshape(-1, 4), maps(flat).reshape(-1, 4))
    if shape:
        np.testing.assert_array_equal(maps(model).shape, (*shape, 4))


# ------------------------------------------------------------------------------------------------------ kinds of data


@pytest.mark.parametrize(
    "kind", ["u1", "u2", "i4", "u4", "i8", "f4", ">f4", ">f8", ">u2", "read-only", "strided", "transposed", "reversed"]
)
def test_kinds_of_data(kind, tmp_path):
    model = make()
    fit(model)
    data = counts()
    if kind == "read-only":
        np.save(tmp_path / "counts.npy", data)
        data = np.load(tmp_path / "counts.npy", mmap_mode="r")
    elif kind == "strided":
        wide = np.zeros((3, 8, 2 * SIZE))
        wide[:, ::2, ::2] = data
        data = wide[:, ::2, ::2]
    elif kind == "transposed":
        data = np.ascontiguousarray(data.transpose(2, 0, 1)).transpose(1, 2, 0)
    elif kind == "reversed":
        data = np.ascontiguousarray(data[::-1, :, ::-1])[::-1, :, ::-1]
    else:
        data = data.astype(kind)
    other = modelled(hs.signals.Signal1D(data))
    kept = np.array(data)
    fit(other)
    np.testing.assert_array_equal(data, kept)
    np.testing.assert_allclose(maps(other), maps(model), rtol=1e-7)
    np.testing.assert_allclose(maps(other, "std"), maps(model, "std"), rtol=1e-7)


def test_data_are_not_copied_as_a_whole():
    x = np.arange(1000) * 0.1
    mean = (60.0 * np.exp(-0.5 * ((x - 50.0) / 9.0) ** 2) + 25.0).astype(np.float32)
    data = np.random.default_rng(0).poisson(mean, (16384, 1000)).astype(np.float32)
    signal = hs.signals.Signal1D(data)
    signal.axes_manager.signal_axes[0].scale = 0.1
    model = signal.create_model()
    model.extend([C.Gaussian(A=1300.0, sigma=9.0, centre=50.0), C.Offset(offset=20.0)])
    model["Gaussian"].sigma.free = model["Gaussian"].centre.free = False
    fit(modelled(hs.signals.Signal1D(counts())))  # compiled before it is measured
    tracemalloc.start()
    try:
        fit(model)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.6 * data.nbytes, peak / data.nbytes


def test_spectra_with_something_wrong():
    model, other = make(), make()
    fit(other)
    data = model.signal.data
    data[0, 0, 7] = np.nan
    data[0, 1] = 0.0
    data[0, 2, 3] = np.inf
    data[1, 0, ::9] = -2.0
    fit(model)
    status = model.fit_quality.status.data
    np.testing.assert_array_equal(status[0, :3], Status.MASKED)
    good = np.ones((3, 4), dtype=bool)
    good[0, :3] = good[1, 0] = False
    assert np.all(np.abs(maps(model) - maps(other))[good] < 1e-4 * maps(other, "std")[good])
    assert np.isfinite(maps(model)[1, 0]).all()
    np.testing.assert_array_equal(maps(model, "is_set")[0, :3], False)
    model.plot()


# ------------------------------------------------------------------------------------------------------------ interrupt


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("kept", [False, True])
def test_an_interrupted_fit_changes_nothing(lazy, kept, tmp_path):
    model = make((20, 40))
    if lazy:
        model.signal.data = model.signal.as_lazy().data.rechunk((5, 40, 50))
        model.signal._lazy = True
        model.signal._assign_subclass()
    folder = tmp_path / "results"
    if kept:
        fit(model, store=folder)
    before = state(model)
    files = sorted((p.relative_to(tmp_path), p.read_bytes() if p.is_file() else b"") for p in tmp_path.rglob("*"))
    quality = getattr(model, "fit_quality", None)
    calls = []

    def stop(done):
        calls.append(done)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, store=tmp_path / "others", progress=stop, loss_function="ls")
    for old, new in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(new, old)
    assert getattr(model, "fit_quality", None) is quality
    after = sorted((p.relative_to(tmp_path), p.read_bytes() if p.is_file() else b"") for p in tmp_path.rglob("*"))
    assert after == files
    fit(model)


def test_results_on_disk_are_complete(tmp_path):
    import zarr

    model = make()
    fit(model, store=tmp_path / "results")
    group = zarr.open_group(str(tmp_path / "results"), mode="r")
    names = [tuple(name) for name in group.attrs["parameters"]]
    for k, (component, parameter) in enumerate(names):
        np.testing.assert_array_equal(
            group["values"][:, k].reshape(3, 4), getattr(model[component], parameter).map["values"]
        )
        np.testing.assert_array_equal(group["std"][:, k].reshape(3, 4), getattr(model[component], parameter).map["std"])
    np.testing.assert_array_equal(group["deviance"][:].reshape(3, 4), model.chisq.data)
    np.testing.assert_array_equal(np.asarray(model.covariance().values).reshape(12, 4, 4), group["covariance"][:])
    assert [p.name for p in tmp_path.iterdir()] == ["results"]
    kept = group["values"][:]
    for name in ("results", "file", "folder"):
        path = tmp_path / name
        if name == "file":
            path.write_text("of the user")
        elif name == "folder":
            path.mkdir()
        with pytest.raises(FileExistsError, match=f"{name} exists"):
            fit(model, store=path, loss_function="ls")
    np.testing.assert_array_equal(group["values"][:], kept)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder", "results"]


# ----------------------------------------------------------------------------------------------------------------- lazy


def lazily(chunks, seed=0):
    signal = hs.signals.Signal1D(counts(seed=seed)).as_lazy()
    signal.data = signal.data.rechunk(chunks)
    return modelled(signal)


@pytest.mark.parametrize("variance", [None, "array", "lazy"])
@pytest.mark.parametrize("chunks", [(3, 4, SIZE), (2, 3, SIZE), (1, 4, 50)])
def test_lazy_data(chunks, variance):
    model, other = make(), lazily(chunks)
    for m in (model, other):
        if variance is not None:
            noise = hs.signals.Signal1D(np.maximum(counts(), 1.0))
            if variance == "lazy" and m is other:
                noise = noise.as_lazy()
                noise.data = noise.data.rechunk((3, 2, 60))
            m.signal.set_noise_variance(noise)
        fit(m, loss_function="ML-poisson" if variance is None else "ls")
    assert np.all(np.abs(maps(other) - maps(model)) < 1e-4 * maps(model, "std"))
    np.testing.assert_allclose(maps(other, "std"), maps(model, "std"), rtol=1e-4)
    np.testing.assert_allclose(other.chisq.data, model.chisq.data, rtol=1e-6)


def test_a_mask_and_lazy_data():
    model, other = make(), lazily((2, 3, 50))
    mask = np.zeros((3, 4), dtype=bool)
    mask[2] = mask[0, 1] = True
    fit(model, mask=mask)
    fit(other, mask=hs.signals.BaseSignal(mask).T.as_lazy())
    np.testing.assert_array_equal(maps(other, "is_set"), maps(model, "is_set"))
    good = ~mask
    assert np.all(np.abs(maps(other) - maps(model))[good] < 1e-4 * maps(model, "std")[good])


@pytest.mark.slow
def test_workers_of_a_cluster(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.chdir(tmp_path)
    model, other = make(), lazily((2, 2, 50))
    reference = lazily((2, 2, 50))
    fit(model)
    fit(reference)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster),
    ):
        fit(other, store=tmp_path / "results")
    np.testing.assert_array_equal(maps(other), maps(reference))
    assert np.all(np.abs(maps(other) - maps(model)) < 1e-4 * maps(model, "std"))
    assert (tmp_path / "results").is_dir()


# --------------------------------------------------------------------------------------------------------------- errors


def test_unknown_losses_and_masks():
    model = make()
    with pytest.raises(ValueError, match=r'loss_function must be "ML-poisson" or "ls"'):
        fit(model, loss_function="huber")
    with pytest.raises(ValueError, match=r"mask must have the shape \(3, 4\)"):
        fit(model, mask=np.zeros((4, 3), dtype=bool))


def test_a_non_uniform_axis():
    signal = hs.signals.Signal1D(
        counts(), axes=[{"size": 3}, {"size": 4}, {"axis": np.arange(SIZE) ** 1.5, "name": "x"}]
    )
    model = signal.create_model()
    model.append(C.Offset())
    with pytest.raises(NotImplementedError, match=r"'x' is not uniform: interpolate"):
        fit(model)


def test_nothing_is_active():
    model = make()
    for component in model:
        component.active = False
    with pytest.raises(ValueError, match="no component of the model is active"):
        fit(model)
    with pytest.raises(ValueError, match="no component of the model is active"):
        fit(hs.signals.Signal1D(counts()).create_model())


def test_a_component_that_cannot_be_compiled():
    model = make()
    model.append(C.SplitVoigt())
    before = state(model)
    with pytest.raises(
        NotImplementedError, match=r"SplitVoigt\.\w+ is free and not linear.*fix it, write the comp.*as an Exp"
    ):
        fit(model)
    for old, new in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(new, old)


def test_a_channel_without_variance():
    model = make()
    variance = np.ones((3, 4, SIZE))
    variance[1, 1, 5] = 0.0
    model.signal.set_noise_variance(hs.signals.Signal1D(variance))
    before = state(model)
    with pytest.raises(ValueError, match=r"variance is not above 0 in 1 channels.*ML-poisson"):
        fit(model, loss_function="ls")
    for old, new in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(new, old)


def test_a_start_that_is_not_a_number():
    model = make()
    model["Gaussian"].centre.value = np.nan
    with pytest.raises(ValueError, match=r"Gaussian\.centre starts at a value that is not finite"):
        fit(model)


def test_two_signal_axes():
    model = hs.signals.Signal2D(np.ones((2, 5, 6))).create_model()
    model.append(hs.model.components2D.Gaussian2D())
    with pytest.raises(NotImplementedError, match="one signal axis"):
        fit(model)


def test_all_channels_are_switched_off():
    model = make()
    model.remove_signal_range(-1.0, 20.0)
    assert not model._channel_switches.any()
    with pytest.raises(ValueError, match="channel"):
        fit(model)


@pytest.mark.parametrize("loss", ["ML-poisson", "ls"])
def test_more_parameters_than_channels(loss):
    model = make()
    model.set_signal_range(4.0, 4.2)
    assert model._channel_switches.sum() == 3
    with pytest.raises(ValueError, match="channels"):
        fit(model, loss_function=loss)


def test_nothing_is_free():
    model = make()
    for component in model:
        for parameter in component.parameters:
            parameter.free = False
    fit(model)
    np.testing.assert_array_equal(maps(model)[..., 0], 150.0)
    assert np.all(model.chisq.data > 0)
