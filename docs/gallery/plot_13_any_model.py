"""
Fit any HyperSpy model to a whole map
=====================================

The fit engine takes any one-dimensional model of any signal. Two peaks, one width tied to the
other.
"""

import hyperspy.api as hs
import numpy as np

import hyperspy_assb

rng = np.random.default_rng(1)
x = np.linspace(0.0, 20.0, 200)
expected = 40.0 * np.exp(-(((x - 8.0) / 1.5) ** 2)) + 20.0 * np.exp(-(((x - 12.0) / 1.5) ** 2)) + 5.0
s = hs.signals.Signal1D(rng.poisson(expected, (32, 32, 200)))
axis = s.axes_manager.signal_axes[0]
axis.name, axis.units, axis.scale = "Energy", "eV", x[1] - x[0]

m = s.create_model()
first = hs.model.components1D.Gaussian(A=100.0, centre=8.3, sigma=1.0)
second = hs.model.components1D.Gaussian(A=50.0, centre=11.6, sigma=1.0)
m.extend([first, second, hs.model.components1D.Offset(offset=4.0)])
second.name, second.sigma.twin = "Second", first.sigma

fit = hyperspy_assb.multifit(m, show_progressbar=False)
print(fit.summary())
fit.plot("Second", "centre")
