"""Figures from arrays and signals: every function takes and returns matplotlib axes."""

from hyperspy_assb.plotting.comparison import plot_comparison
from hyperspy_assb.plotting.delithiation import plot_delithiation, plot_delithiation_change, plot_distribution
from hyperspy_assb.plotting.delithiation_spectra import plot_before_after
from hyperspy_assb.plotting.maps import MapOptions, add_scale_bar, outline, plot_map, plot_status_map
from hyperspy_assb.plotting.populations import plot_populations
from hyperspy_assb.plotting.precision import plot_precision
from hyperspy_assb.plotting.residuals import plot_residual_image
from hyperspy_assb.plotting.spectra import FitPlotOptions, plot_fit
from hyperspy_assb.plotting.truth import plot_truth_result

__all__ = [
    "FitPlotOptions",
    "MapOptions",
    "add_scale_bar",
    "outline",
    "plot_before_after",
    "plot_comparison",
    "plot_delithiation",
    "plot_delithiation_change",
    "plot_distribution",
    "plot_fit",
    "plot_map",
    "plot_populations",
    "plot_precision",
    "plot_residual_image",
    "plot_status_map",
    "plot_truth_result",
]
