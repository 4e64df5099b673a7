"""A slow and independent fit to compare the batched one with: HyperSpy's own values, numerical derivatives."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import least_squares


class Reference:
    """Exact fit of the model at the current indices, on what HyperSpy itself computes for the model.

    Parameters
    ----------
    model
        A HyperSpy model.
    loss
        "ML-poisson" or "ls".
    variance
        Of the fitted channels, with "ls"; None if it is not known.
    gain, read_noise
        The counts plus ``read_noise**2 / gain``, over ``gain``, are taken as Poisson numbers.
    """

    def __init__(self, model, loss, *, variance=None, gain=1.0, read_noise=0.0, bounded=True):
        self.model, self.poisson, self.relative = model, loss == "ML-poisson", loss == "ls" and variance is None
        self.gain, self.shift = gain, (read_noise / gain) ** 2
        self.slots = [
            (p, k)
            for c in model
            if c.active
            for p in c.parameters
            if p.free and p.twin is None
            for k in (range(p._number_of_elements) if p._number_of_elements > 1 else (None,))
        ]
        data = np.asarray(model.signal._get_current_data(as_numpy=True), dtype=float)[model._channel_switches]
        self.y = data / gain + self.shift if self.poisson else data
        self.weights = np.ones(data.size) if variance is None else 1.0 / (np.ones(data.size) * variance)
        bounds = [(p.bmin, p.bmax) if bounded else (None, None) for p, _ in self.slots]
        self.lower = np.array([-np.inf if b[0] is None else b[0] for b in bounds], dtype=float)
        self.upper = np.array([np.inf if b[1] is None else b[1] for b in bounds], dtype=float)

    def get(self):
        return np.array([p.value if k is None else p.value[k] for p, k in self.slots], dtype=float)

    def put(self, theta):
        for (p, k), value in zip(self.slots, theta, strict=True):
            if k is None:
                p.value = float(value)
            else:
                values = list(p.value)
                values[k] = float(value)
                p.value = tuple(values)

    def expectation(self, theta):
        """What is compared with the data: HyperSpy's values in the fitted channels."""
        self.put(theta)
        with np.errstate(all="ignore"):
            mu = np.asarray(self.model._get_current_data(onlyactive=True), dtype=float)
        return mu / self.gain + self.shift if self.poisson else mu

    def jacobian(self, theta, step):
        """Central differences of sixth order."""
        rows = []
        for k in range(len(theta)):
            total = 0.0
            for multiple, factor in ((1, 45.0), (2, -9.0), (3, 1.0)):
                for sign in (1, -1):
                    moved = theta.copy()
                    moved[k] += sign * multiple * step[k]
                    total = total + sign * factor * self.expectation(moved)
            rows.append(total / (60.0 * step[k]))
        return np.array(rows)

    def objective(self, theta):
        """Half the deviance, or half the weighted sum of squares."""
        mu, y = self.expectation(theta), self.y
        if not np.isfinite(mu).all():
            return np.inf
        if not self.poisson:
            return 0.5 * np.sum(self.weights * (y - mu) ** 2)
        if not np.all(mu > 0):
            return np.inf
        known = np.where(y > 0, y, 1.0)
        return float(np.sum(mu - y + y * np.log(known / mu)))

    def normal(self, theta, step):
        mu, jacobian = self.expectation(theta), self.jacobian(theta, step)
        weights = 1.0 / mu if self.poisson else self.weights
        return jacobian @ (weights * (self.y - mu)), (jacobian * weights) @ jacobian.T

    def polish(self, theta, step=None, bounds=True):
        """Fisher scoring to the last digit, with parameters held that the data push against a bound."""
        lower = self.lower if bounds else np.full(len(theta), -np.inf)
        upper = self.upper if bounds else np.full(len(theta), np.inf)
        theta = np.clip(theta, lower, upper)
        step = 1e-5 * np.maximum(np.abs(theta), 1e-2) if step is None else step
        value, calm = self.objective(theta), 0
        for _ in range(400):
            score, information = self.normal(theta, step)
            held = ((theta <= lower) & (score < 0)) | ((theta >= upper) & (score > 0))
            root = np.sqrt(np.diag(information))
            change = np.zeros_like(theta)
            on = np.flatnonzero(~held)
            scaled = information[np.ix_(on, on)] / np.outer(root[on], root[on])
            change[on] = np.linalg.solve(scaled, score[on] / root[on]) / root[on]
            self.std = np.zeros_like(theta)
            self.std[on] = np.sqrt(np.diag(np.linalg.inv(scaled))) / root[on]
            self.score, self.held, self.information = score, held, information
            if self.relative:
                self.std *= np.sqrt(2.0 * value / (self.y.size - len(theta)))
            step = np.where(held, step, np.minimum(0.01 * self.std, 1e-2 * np.maximum(np.abs(theta), 1e-2)))
            size = 1.0
            while True:
                aim = np.clip(theta + size * change, lower, upper)
                new = self.objective(aim)
                if new <= value + 1e-12 * max(1.0, abs(value)) or size < 1e-8:
                    break
                size *= 0.5
            moved = np.abs(aim - theta)[on] / self.std[on]
            if new <= value + 1e-12 * max(1.0, abs(value)):
                theta, value = aim, new
            calm = calm + 1 if moved.size == 0 or moved.max() < 1e-6 else 0
            if calm == 2:
                break
        self.converged = calm == 2
        self.theta, self.value = theta, value
        self.put(theta)
        return self

    def fit(self, theta):
        """From the given start: scipy first where it can be used, then scoring."""
        theta = np.clip(np.asarray(theta, dtype=float), self.lower, self.upper)
        if not self.poisson and (theta > self.lower).all() and (theta < self.upper).all():
            found = least_squares(
                lambda t: np.sqrt(self.weights) * (self.expectation(t) - self.y),
                theta,
                bounds=(self.lower, self.upper),
                x_scale=np.maximum(np.abs(theta), 1e-2),
                xtol=1e-15,
                ftol=1e-15,
                gtol=1e-15,
                max_nfev=100,
            )
            theta = found.x
        return self.polish(theta)


def compare(model, loss, truth=None, *, at=None, variance=None, gain=1.0, read_noise=0.0, values=1e-4, std=1e-3):
    """Assert that what the batched fit has left in a model is the exact fit; returns the largest differences.

    ``truth`` holds the values from which the exact fit starts at each position: where it ends in a worse minimum than
    the batched fit, it starts again from there.
    """
    shape = model.axes_manager._navigation_shape_in_array
    worst = [0.0, 0.0]
    for number, index in enumerate(np.ndindex(shape or (1,))):
        if at is not None and index not in at:
            continue
        if shape:
            model.axes_manager.indices = index[::-1]
        model.fetch_stored_values()
        known = variance[index][model._channel_switches] if np.ndim(variance) > 1 else variance
        exact = Reference(model, loss, variance=known, gain=gain, read_noise=read_noise)
        found = exact.get()
        errors = np.array([p.map["std"][index] if k is None else p.map["std"][index][k] for p, k in exact.slots])
        assert np.isfinite(found).all(), f"not fitted at {index}: {model.fit_quality.status.data}"
        start = found if truth is None else np.asarray(truth[number] if np.ndim(truth) > 1 else truth, dtype=float)
        own = exact.objective(np.clip(found, exact.lower, exact.upper))
        exact.fit(start)
        if exact.value > own + 1e-9 * max(1.0, own):
            exact.polish(found)
        assert exact.converged, f"the reference does not converge at {index}"
        assert own <= exact.value + 1e-6 * max(1.0, exact.value), f"another minimum at {index}: {own} > {exact.value}"
        free = ~exact.held
        scale = np.where(free, np.where(exact.std > 0, exact.std, 1.0), 1e-9 * np.maximum(1.0, np.abs(exact.theta)))
        difference = np.abs(found - exact.theta) / scale
        names = [f"{p.component.name}.{p.name}" for p, _ in exact.slots]
        assert np.all(difference < values), f"{index}: {dict(zip(names, difference, strict=True))}"
        np.testing.assert_allclose(errors[free], exact.std[free], rtol=std, err_msg=f"{index} {names}")
        np.testing.assert_array_equal(errors[~free], 0.0)
        worst[0] = max(worst[0], difference[free].max(initial=0.0))
        worst[1] = max(worst[1], np.abs(errors[free] / exact.std[free] - 1.0).max(initial=0.0))
        exact.put(found)
    return worst


@pytest.fixture(scope="session")
def exact():
    """``exact.Reference`` and ``exact.compare``."""
    return SimpleNamespace(Reference=Reference, compare=compare)
