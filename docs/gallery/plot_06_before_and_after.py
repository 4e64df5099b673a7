"""
Did the electrolyte change?
===========================

Low-loss spectra of LAGP before and after bias: zero-loss peak and plural scattering are removed,
thickness is normalised, and p values are corrected for the number of bands.
"""

from hyperspy_assb.simulation import micro_battery

battery = micro_battery(shape=(32, 32), seed=6, signal_type="EELS_ASSB")
states = (battery.truth.before, battery.truth.after)
lagp = [s.fractions["LAGP"] + s.fractions["amorphous_LAGP"] >= 0.9 for s in states]

c = battery.eels_before.compare_low_loss(battery.eels_after, region=lagp, show_progressbar=False)
print(c.summary())
c.plot()
