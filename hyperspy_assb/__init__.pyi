from hyperspy_assb import acom as acom
from hyperspy_assb import components as components
from hyperspy_assb import models as models
from hyperspy_assb import plotting as plotting
from hyperspy_assb import provenance as provenance
from hyperspy_assb import reference as reference
from hyperspy_assb import signals as signals
from hyperspy_assb import simulation as simulation
from hyperspy_assb.models.lmfit_bridge import to_lmfit as to_lmfit
from hyperspy_assb.models.multifit import multifit as multifit
from hyperspy_assb.signals.acom.orientation_files import load_orientations as load_orientations
from hyperspy_assb.signals.acom.phase_comparison import compare_phases as compare_phases
from hyperspy_assb.signals.acom.signal import load_patterns as load_patterns
from hyperspy_assb.signals.eds.composition_comparison import load_composition_comparison as load_composition_comparison
from hyperspy_assb.signals.eds.compositions import load_eds_composition as load_eds_composition
from hyperspy_assb.signals.eds.compositions import load_eds_phases as load_eds_phases
from hyperspy_assb.signals.eds.interface_profile import load_interface_profile as load_interface_profile
from hyperspy_assb.signals.eds.signal import load_eds_spectrum_image as load_eds_spectrum_image
from hyperspy_assb.signals.eels.delithiation import load_delithiation as load_delithiation
from hyperspy_assb.signals.eels.low_loss_comparison import load_comparison as load_comparison
from hyperspy_assb.signals.eels.signal import load_spectrum_image as load_spectrum_image
from hyperspy_assb.signals.fits.fit_comparison import compare_fits as compare_fits
from hyperspy_assb.signals.fits.precision import predict_precision as predict_precision
from hyperspy_assb.signals.fits.residuals import plot_residuals as plot_residuals

__version__: str
