"""The EELS signal of all-solid-state batteries.

Methods are thin: they read axes and metadata, call one function on arrays, and dress what comes back as signals.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from os import PathLike
from typing import Any, ClassVar, Literal

import numpy as np
from exspy.signals import EELSSpectrum, LazyEELSSpectrum
from hyperspy.signals import BaseSignal
from numpy.typing import NDArray

from hyperspy_assb.eels import checks, microscope
from hyperspy_assb.eels.comparison.options import ComparisonOptions
from hyperspy_assb.eels.microscope import MicroscopeParameters
from hyperspy_assb.eels.scattering.low_loss_components import BAND_ELEMENT, ELEMENTS, LowLossOptions, explain_absent
from hyperspy_assb.eels.zero_loss.peak_search import SEARCH_RANGE
from hyperspy_assb.eels.zero_loss.removal import RemovalMethod
from hyperspy_assb.errors import AssbNotImplementedError, AssbWarning
from hyperspy_assb.models.recorded_signal import recorded_data
from hyperspy_assb.reference import Electrode
from hyperspy_assb.signals.eels import low_loss_reading as reading
from hyperspy_assb.signals.eels import zero_loss
from hyperspy_assb.signals.eels.computed_references import COMPUTED, find_pure_pixels
from hyperspy_assb.signals.eels.delithiation import Delithiation
from hyperspy_assb.signals.eels.delithiation_estimate import quantify_delithiation
from hyperspy_assb.signals.eels.dispersion import on_dispersion_of
from hyperspy_assb.signals.eels.eels_model import ASSBEELSModel
from hyperspy_assb.signals.eels.fine_structure import FineStructure, quantify_dual_eels
from hyperspy_assb.signals.eels.low_loss_comparison import LowLossComparison, compare_low_loss
from hyperspy_assb.signals.eels.low_loss_model import create_low_loss_model
from hyperspy_assb.signals.eels.picked_references import PickedReferences
from hyperspy_assb.signals.eels.reference_suggestion import ReferenceSuggestion, suggest_references
from hyperspy_assb.signals.eels.zero_loss import ZeroLossMaps
from hyperspy_assb.signals.loading import as_type, eels_spectra, load_signal


class ASSBEELSSpectrum(EELSSpectrum):
    """EELS spectra of all-solid-state batteries.

    Any EELS signal becomes one by ``s.set_signal_type("EELS_ASSB")`` or ``hs.load(..., signal_type="EELS_ASSB")``;
    data, axes and metadata stay as they are, and every method of :class:`exspy.signals.EELSSpectrum` works. What this
    package notes about the signals that it makes is kept in their metadata, under the node ``ASSB``; those of the user
    stay as they are.

    Examples
    --------
    >>> import exspy
    >>> signal = exspy.signals.EELSSpectrum(np.ones((2, 3, 64)))
    >>> signal.set_signal_type("EELS_ASSB")
    >>> signal
    <ASSBEELSSpectrum, title: , dimensions: (3, 2|64)>
    """

    _signal_type = "EELS_ASSB"
    # Not inherited: exspy's aliases belong to its own class.
    _alias_signal_types: ClassVar[list[str]] = []

    # ------------------------------------------------------------------ checks

    def validate_energy_axis(
        self, *, minimum_end: float | None = None, zero_loss: bool = False, purpose: str = ""
    ) -> NDArray[np.float64]:
        """Check that the signal has data and an energy axis that an analysis can use.

        Parameters
        ----------
        minimum_end
            Energy in eV that the axis must reach; None: any.
        zero_loss
            Whether the zero-loss peak must be in range.
        purpose
            What the range is for, named in the message.

        Returns
        -------
        NDArray[np.float64]
            Centres of the channels in eV, shape (E,).

        Raises
        ------
        ValueError
            If the signal is empty, the axis is not in eV, reversed or too short, or there is no zero-loss peak in
            range.
        NotImplementedError
            If the axis is non-uniform.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> signal = micro_battery(shape=(2, 3), seed=1, signal_type="EELS_ASSB").eels_before
        >>> signal.validate_energy_axis(minimum_end=70.0, zero_loss=True)[[0, -1]]
        array([-10. , 194.6])
        """
        return reading.read_energy_axis(self, minimum_end=minimum_end, zero_loss=zero_loss, purpose=purpose)

    def find_empty_pixels(self) -> BaseSignal:
        """Find the pixels in which every channel is zero.

        Returns
        -------
        BaseSignal
            Boolean signal on the navigation axes: True where the pixel holds no counts at all.

        Raises
        ------
        ValueError
            If the signal is empty, or its energy axis is not in eV, reversed or too short.
        NotImplementedError
            If the axis is non-uniform.

        Examples
        --------
        >>> signal = ASSBEELSSpectrum(np.ones((2, 3, 64)))
        >>> signal.data[0, 1] = 0.0
        >>> signal.find_empty_pixels().data
        array([[False,  True, False],
               [False, False, False]])
        """
        self.validate_energy_axis()
        counts = recorded_data(self, unusable="keep")
        return reading.on_navigation_axes(self, checks.find_empty_pixels(counts), title="Empty pixels")

    def check_microscope_parameters(self, *, update: bool = False) -> MicroscopeParameters:
        """Tell which of the recorded beam energy and angles can be used.

        Placeholders that Gatan files hold for values nobody entered (convergence 0, collection 100 mrad) are treated
        as unset, and a beam energy in V is corrected to keV. Each is said in a warning.

        Parameters
        ----------
        update
            Whether to write the corrected values into the metadata, and remove the placeholders from it.

        Returns
        -------
        MicroscopeParameters
            Beam energy in keV and semi-angles in mrad; None where unset.

        Raises
        ------
        ValueError
            If a value is negative or not finite.

        Warns
        -----
        AssbWarning
            For each value that was changed, and once naming all that are missing.

        Examples
        --------
        >>> signal = ASSBEELSSpectrum(np.ones(64))
        >>> signal.set_microscope_parameters(beam_energy=200.0, convergence_angle=8.0, collection_angle=15.0)
        >>> signal.check_microscope_parameters()
        MicroscopeParameters(beam_energy=200.0, convergence_angle=8.0, collection_angle=15.0)
        """
        recorded = asdict(reading.read_microscope(self))
        parameters, messages = microscope.check_microscope_parameters(**recorded)
        for message in messages:
            warnings.warn(message, AssbWarning, stacklevel=2)
        if update:
            for name, item in reading.MICROSCOPE_ITEMS.items():
                value = getattr(parameters, name)
                if value is not None:
                    self.metadata.set_item(item, value)
                elif recorded[name] is not None:
                    node, _, leaf = item.rpartition(".")
                    delattr(self.metadata.get_item(node), leaf)
        return parameters

    # --------------------------------------------------------- zero-loss peak

    def estimate_zero_loss(
        self,
        *,
        gain: float | None = None,
        read_variance: float = 0.0,
        search_range: tuple[float, float] = SEARCH_RANGE,
    ) -> ZeroLossMaps:
        """Estimate position, width and intensity of the zero-loss peak (ZLP) in every pixel.

        The signal is neither changed nor resampled. One shape of the top of the peak is learnt from all pixels; each
        is fitted with its own position, width and area by Poisson likelihood. See
        :func:`hyperspy_assb.eels.zero_loss.position.estimate_centre`.

        Parameters
        ----------
        gain
            Counts per electron; None: estimated (files hold 1 where nobody measured it).
        read_variance
            Variance of a channel without electrons, in counts squared.
        search_range
            Energies in eV between which the maximum is sought.

        Returns
        -------
        ZeroLossMaps
            Signals on the navigation axes, in eV and counts; NaN where there is no peak, and a status that says why.

        Raises
        ------
        ValueError
            If the signal is empty, its energy axis is reversed, or no zero-loss peak is in range.
        NotImplementedError
            If the energy axis is non-uniform.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> signal = micro_battery(shape=(2, 3), seed=1, signal_type="EELS_ASSB").eels_before
        >>> peak = signal.estimate_zero_loss()
        >>> print(peak.fwhm.data.mean().round(1))
        0.8
        >>> peak.to_dataframe()["status"].tolist().count("ok")
        6
        """
        return zero_loss.estimate(self, gain=gain, read_variance=read_variance, search_range=search_range)

    def estimate_zero_loss_centre(
        self,
        *,
        gain: float | None = None,
        read_variance: float = 0.0,
        search_range: tuple[float, float] = SEARCH_RANGE,
    ) -> BaseSignal:
        """Estimate the position of the zero-loss peak in every pixel, to a fraction of a channel.

        Parameters
        ----------
        gain, read_variance, search_range
            As in :meth:`estimate_zero_loss`.

        Returns
        -------
        BaseSignal
            Energy of the mode of the peak in eV, on the navigation axes; NaN where there is no peak. Its variance, in
            eV squared, is its noise variance: ``centre.get_noise_variance()``.

        Raises
        ------
        ValueError, NotImplementedError
            As in :meth:`estimate_zero_loss`.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> signal = micro_battery(shape=(2, 3), seed=1, signal_type="EELS_ASSB").eels_before
        >>> centre = signal.estimate_zero_loss_centre()
        >>> centre.data.shape, bool((centre.get_noise_variance().data < 0.01**2).all())
        ((2, 3), True)
        """
        maps = self.estimate_zero_loss(gain=gain, read_variance=read_variance, search_range=search_range)
        variance = maps.centre_std**2
        variance.metadata.General.title = f"Variance of {maps.centre.metadata.General.title}"
        maps.centre.set_noise_variance(variance)
        return maps.centre

    def remove_zero_loss(
        self,
        method: RemovalMethod = "fit",
        *,
        reference: BaseSignal | None = None,
        gain: float | None = None,
        read_variance: float = 0.0,
    ) -> ASSBEELSSpectrum:
        """Subtract the zero-loss peak.

        See :func:`hyperspy_assb.eels.zero_loss.removal.remove_zero_loss`, which also returns the covariance of
        neighbouring channels.

        Parameters
        ----------
        method
            ``"fit"``: an asymmetric pseudo-Voigt peak; ``"mirror"``: the gain side, reflected; ``"reference"``: one
            spectrum recorded in vacuum, shifted and scaled to each pixel.
        reference
            The vacuum spectrum, without navigation axes, for ``"reference"``.
        gain
            Counts per electron; None: estimated.
        read_variance
            Variance of a channel without electrons, in counts squared.

        Returns
        -------
        ASSBEELSSpectrum
            New signal with the same axes; NaN in pixels without a zero-loss peak. Its variance is its noise variance
            (``get_noise_variance()``).

        Raises
        ------
        ValueError
            If the method is unknown, the reference is missing or does not fit, or the signal cannot be used.
        NotImplementedError
            If an energy axis is non-uniform.

        Warns
        -----
        AssbWarning
            If the gain side is too short for ``"mirror"`` to reach 10 eV.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> signal = micro_battery(shape=(2, 3), seed=1, signal_type="EELS_ASSB").eels_before
        >>> rest = signal.remove_zero_loss()
        >>> energy = signal.axes_manager.signal_axes[0].axis
        >>> peak = np.abs(energy) < 2.0
        >>> bool(rest.data[..., peak].sum() < 0.1 * signal.data[..., peak].sum())
        True
        """
        return zero_loss.remove(self, method, reference=reference, gain=gain, read_variance=read_variance)

    # ------------------------------------------------------------------ models

    def create_model(
        self,
        low_loss: Any = None,
        auto_background: bool = True,
        auto_add_edges: bool = True,
        GOS: str = "dft",
        gos_file_path: str | None = None,
        dictionary: dict[str, Any] | None = None,
    ) -> ASSBEELSModel:
        """Create a model, as :meth:`exspy.signals.EELSSpectrum.create_model` does.

        Parameters
        ----------
        low_loss
            Low-loss signal that the model is convolved with; None: it is not convolved. One of another dispersion is
            brought to that of the spectra.
        auto_background
            Whether a power law for the background goes in.
        auto_add_edges
            Whether edges of the elements in the metadata go in.
        GOS, gos_file_path
            Generalised oscillator strengths of exspy's edges, and the file that holds them.
        dictionary
            Of a model that was stored, which is restored.

        Returns
        -------
        ASSBEELSModel
            Which also knows plural scattering and the batched fit.

        Raises
        ------
        NotImplementedError
            If it is to be convolved and the energy axis is non-uniform.
        ValueError
            If the low loss does not hold 0 eV, or has other navigation axes.

        Warns
        -----
        AssbWarning
            If the low loss is coarser than the spectra.

        Examples
        --------
        >>> signal = ASSBEELSSpectrum(np.ones((2, 3, 64)))
        >>> signal.create_model(auto_background=False, auto_add_edges=False)
        <ASSBEELSModel>
        """
        if low_loss is not None and not self.axes_manager.signal_axes[0].is_uniform:
            raise AssbNotImplementedError("Convolution with a low-loss spectrum needs a uniform energy axis.")
        return ASSBEELSModel(
            self,
            low_loss=None if low_loss is None else on_dispersion_of(low_loss, self),
            auto_background=auto_background,
            auto_add_edges=auto_add_edges,
            GOS=GOS,
            dictionary=dictionary,
            gos_file_path=gos_file_path,
        )

    def create_low_loss_model(
        self,
        elements: Sequence[str] | None = None,
        *,
        valence: Literal["continuum", "plasmon"] = "continuum",
        valence_band: bool | None = None,
    ) -> ASSBEELSModel:
        """Create the joint low-loss model, with starting values found from the data.

        Zero-loss peak, valence scattering, the 5 eV band of FePO4 and the edges of the elements up to 210 eV, with
        plural scattering to every order. Fit it with ``model.multifit()``. Gain and read noise, where the metadata have
        none, are found from the spectra and kept in ``model.detector``; the signal stays as it is.

        Parameters
        ----------
        elements
            Chemical symbols; by default those of the metadata, or Li, Fe, P and O.
        valence
            "continuum": a free-form valence scattering distribution; "plasmon": one Drude plasmon.
        valence_band
            Whether the 5 eV band is a component; None: unless elements are named and Fe is
            not among them.

        Returns
        -------
        ASSBEELSModel
            Started in every pixel.

        Raises
        ------
        ValueError
            If the signal is empty, there is no zero-loss peak in range, or an element is unknown.
        NotImplementedError
            If the energy axis is not uniform.

        Warns
        -----
        AssbWarning
            If the beam energy or an angle is unset, elements that were named have no edge in the range, or pixels hold
            NaN, which are left out.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> signal = micro_battery(shape=(2, 3), seed=1, signal_type="EELS_ASSB").eels_before
        >>> model = signal.create_low_loss_model(["Li", "Fe"])
        >>> [component.name for component in model]
        ['ZeroLossPeak', 'ValenceContinuum', 'FePO4ValenceBand', 'Li_K', 'Fe_M23']
        """
        spectra = reading.read_low_loss(self)
        if elements is None:
            elements = spectra.elements or ELEMENTS
        chosen = (elements,) if isinstance(elements, str) else tuple(elements)
        if valence_band is None:
            valence_band = not chosen or BAND_ELEMENT in chosen
        options = LowLossOptions(chosen, valence, valence_band)
        absent = explain_absent(options, float(spectra.energy[-1])) if chosen != ELEMENTS else ""
        if absent:
            warnings.warn(absent, AssbWarning, stacklevel=2)
        return create_low_loss_model(self, spectra, options)

    def pick_references(self, image: Any = None) -> PickedReferences:
        """Draw regions of pure materials on a map, and see their spectra, how pure they are, and what x becomes.

        Parameters
        ----------
        image
            Map that is drawn on, as an array or signal on the navigation axes; None: all counts of each pixel.

        Returns
        -------
        PickedReferences
            ``pick(material, roi)`` adds a region, ``plot()`` shows all for the mouse; ``references`` is what
            :meth:`quantify_delithiation` takes.

        Raises
        ------
        ValueError
            If the signal has other than two navigation axes.

        Examples
        --------
        >>> import hyperspy.api as hs
        >>> from hyperspy_assb.simulation import micro_battery
        >>> picked = micro_battery(shape=(8, 8), seed=6, signal_type="EELS_ASSB").eels_after.pick_references()
        >>> roi = picked.pick("LAGP", hs.roi.RectangularROI(0.0, 375.0, 375.0, 750.0))
        >>> int(picked.references["LAGP"].sum())
        4
        """
        return PickedReferences(self, image)

    def suggest_references(
        self,
        electrode: str | Electrode | None = None,
        *,
        materials: Sequence[str] | None = None,
        fewest: int = 10,
    ) -> ReferenceSuggestion:
        """Find pixels of the map that may serve as references, where nobody knows any yet.

        Single scattering per t/λ of a column is the mean of that of its materials: pixels fill a simplex whose corners
        are the pure ones. Those near a corner are tested for being of one material, and named by the edges and the
        5 eV band of their sum. Nothing uses them unasked.

        Parameters
        ----------
        electrode
            Whose end members are looked for, or its name; None: LixFePO4.
        materials
            Others that may be there; None: LAGP and carbon.
        fewest
            Pixels below which a material is not proposed, at least 10.

        Returns
        -------
        ReferenceSuggestion
            ``references`` are masks that :meth:`quantify_delithiation` takes; a map, a table, and what each material
            was named by.

        Raises
        ------
        ValueError
            If the range does not hold the zero-loss peak and 70 eV, fewer than 50 pixels have a specimen between t/λ
            0.1 and 2, or none differs from the others by more than its noise.

        Notes
        -----
        Largest simplex: M. E. Winter, Proc. SPIE 3753, 266 (1999), doi:10.1117/12.366289.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> signal = micro_battery(shape=(16, 16), seed=6, signal_type="EELS_ASSB").eels_after
        >>> suggestion = signal.suggest_references()
        >>> suggestion.names
        ('LiFePO4', 'FePO4')
        """
        return suggest_references(self, electrode, materials, fewest)

    def quantify_delithiation(
        self,
        references: Mapping[str, Any] | Delithiation | str | None = None,
        method: str = "combined",
        *,
        electrode: str | Electrode | None = None,
        elements: Sequence[str] | None = None,
        ensemble: bool = True,
        show_progressbar: bool | None = None,
    ) -> Delithiation:
        """Quantify x, the ions per formula unit of an electrode, in every pixel.

        Parameters
        ----------
        references
            Of each phase, by names or aliases of :data:`hyperspy_assb.materials`: both end members of an electrode of
            :data:`hyperspy_assb.electrodes`, such as "LiFePO4" and "FePO4", or "LiCoO2" and "CoO2"; "LAGP", "carbon"
            or others where they lie in the columns; "vacuum" shows the zero-loss peak. Each names pure pixels, by a
            boolean array or signal on the navigation axes or a HyperSpy ROI, or holds pure spectra, an array or signal
            with the energy axis of this one. Or the result for another signal of the same specimen, whose calibration
            is taken: a pristine electrode holds no delithiated material to calibrate on. "computed": the pixels that
            :meth:`suggest_references` finds pure, identified by spectra computed from first principles; the result
            says so. None, with the method
            "lithium": Li per Fe of LiFePO4 by cross-sections for the recorded beam energy and angles, which says that
            it is built in, and how uncertain it is.
        method
            "references": mixture of the spectra of the phases, for any electrode; "valence": area of the 5 eV band,
            and "lithium": Li K, per formula unit of the host, where the electrode has that signature; "combined": all
            that it allows, with their covariance. The result holds all of them; this one is shown.
        electrode
            Which is meant, or its name; None: the one whose end members the references name.
        elements
            Elements whose edges are fitted; by default those of the phases that have an edge in the low-loss range, and
            C, for its pi band, where carbon is named.
        ensemble
            Whether some pixels are fitted without one part of the spectrum after the other, and what this changes
            counts as systematic.
        show_progressbar
            HyperSpy's preference by default.

        Returns
        -------
        Delithiation
            Maps of x, its uncertainties and its status.

        Raises
        ------
        ValueError
            If the range is too short, references are missing, empty, of another shape, of no electrode or of more than
            one, or do not differ; or, without references, if the electrode is not LiFePO4, the beam energy or an angle
            is unset, or another metal overlaps with Fe and Li.
        MissingFactError
            If the electrode lacks the signature that the method needs.

        Warns
        -----
        AssbWarning
            If pure pixels scatter as more than one phase does, or another signal was recorded differently.

        Examples
        --------
        Pure pixels calibrate the others; here all columns are simulated, and a third of them holds both phases:

        >>> import numpy as np
        >>> from hyperspy_assb.simulation import EELSConditions, simulate_spectra
        >>> from hyperspy_assb.simulation.battery import spectra_to_signal
        >>> x, nm = np.repeat([1.0, 0.0, 0.5], 6), np.tile(np.linspace(30.0, 80.0, 6), 3)
        >>> counts = simulate_spectra({"LiFePO4": nm * x, "FePO4": nm * (1.0 - x)}, rng=1)
        >>> s = spectra_to_signal(counts, EELSConditions(), signal_type="EELS_ASSB")
        >>> pure = {"LFP": x == 1.0, "FP": x == 0.0}
        >>> d = s.quantify_delithiation(pure, ensemble=False, show_progressbar=False)
        >>> d.electrode.name, d.methods
        ('LixFePO4', ('valence', 'lithium', 'references', 'combined'))
        >>> d.to_dataframe(region={"both phases": x == 0.5})[["x", "quantified"]].round(1)
                      x  quantified
        region
        both phases ...           6

        A state without pure FePO4 takes the calibration of another:

        >>> s.inav[:6].quantify_delithiation(d, "references", ensemble=False, show_progressbar=False)
        Delithiation(LixFePO4, method='references', calibration='references')
        """
        note = ""
        if isinstance(references, str) and references == COMPUTED:
            references, note = find_pure_pixels(self, electrode)
        return quantify_delithiation(
            self,
            references,
            method,
            electrode=electrode,
            elements=None if elements is None else tuple(elements),
            ensemble=ensemble,
            show_progressbar=show_progressbar,
            computed_note=note,
        )

    def quantify_fine_structure(
        self,
        references: Mapping[str, Any] | Delithiation,
        low_loss: BaseSignal,
        *,
        electrode: str | Electrode | None = None,
        show_progressbar: bool | None = None,
    ) -> FineStructure:
        """Quantify x from the fine structure of core-loss edges: O K with its pre-edge, and the L2,3 edge of the metal.

        Parameters
        ----------
        references
            Pure pixels of both end members of an electrode, and of "LAGP" or others that share their elements, as for
            :meth:`quantify_delithiation`; or the result of the low loss, whose pure pixels are taken.
        low_loss
            Low-loss signal of the same pixels (DualEELS), with the zero-loss peak in range, as it was recorded: its
            energy shift is that of the core loss. One spectrum serves all pixels alike.
        electrode
            Which is meant, or its name; None: the one whose end members the references name.
        show_progressbar
            HyperSpy's preference by default.

        Returns
        -------
        FineStructure
            Maps of x, its uncertainties and its status, by each edge and combined.

        Raises
        ------
        ValueError
            If no edge of the electrode is in range with its background, references are missing, overlap or hold fewer
            than 4 spectra, or the low loss is of other pixels or has no zero-loss peak in range.
        TypeError
            If references or the low loss are of another kind.

        Notes
        -----
        Each spectrum is a power-law background and the edges of the phases, which pure pixels show, convolved with the
        low loss of the pixel: nothing is subtracted from the counts, and they are not shifted or deconvolved. Egerton,
        Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed., section 4.3.2 (Fourier-ratio method). The
        pre-edge of O K: Kinyanjui et al., J. Phys.: Condens. Matter 22, 275501 (2010).

        Examples
        --------
        >>> from hyperspy_assb.simulation import EELSConditions, core_loss_conditions, simulate_core_loss
        >>> from hyperspy_assb.simulation import simulate_spectra
        >>> from hyperspy_assb.simulation.battery import spectra_to_signal
        >>> x, nm = np.repeat([1.0, 0.0, 0.5], 8), np.tile(np.linspace(40.0, 80.0, 8), 3)
        >>> columns, low = {"LiFePO4": nm * x, "FePO4": nm * (1.0 - x)}, EELSConditions(dispersion=0.5, n_channels=256)
        >>> low_loss = spectra_to_signal(simulate_spectra(columns, low, 1, zero_loss_shift=0.0), low)
        >>> core = core_loss_conditions(low)
        >>> s = spectra_to_signal(simulate_core_loss(columns, core, 2), core, signal_type="EELS_ASSB")
        >>> pure = {"LiFePO4": x == 1.0, "FePO4": x == 0.0}
        >>> d = s.quantify_fine_structure(pure, low_loss, show_progressbar=False)
        >>> d.methods
        ('O K', 'Fe L2,3', 'combined')
        >>> d.to_dataframe({"both phases": x == 0.5})[["x", "quantified"]].round(1)
                       x  quantified
        region
        both phases ...            8
        """
        return quantify_dual_eels(self, references, low_loss, electrode=electrode, show_progressbar=show_progressbar)

    def compare_low_loss(
        self,
        after: ASSBEELSSpectrum | Sequence[ASSBEELSSpectrum] | None = None,
        *,
        region: Any = None,
        zero_loss: Any = "common",
        bands: Sequence[Any] | None = None,
        bias: Sequence[float] | None = None,
        options: ComparisonOptions | None = None,
        show_progressbar: bool | None = None,
    ) -> LowLossComparison:
        """Compare low-loss spectra with those of one or more later states: which bands changed, and by how much.

        The zero-loss peak and plural scattering are removed by Fourier-log deconvolution with one zero-loss peak,
        spectra are compared at one t/λ, and p values come from permutations of blocks of neighbouring pixels. Images,
        lines and single spectra can be compared; with single spectra only counting noise is known.

        Parameters
        ----------
        after
            The later state, or a list of later states; None: the states lie along a navigation axis named ``bias``.
        region
            Pixels that are compared: a boolean array or signal on the navigation axes (True: compared), or a HyperSpy
            ROI; a list of one for each state where they differ.
        zero_loss
            "common": one peak is fitted to all states; "each": one to each, for states of different energy
            resolution; or a spectrum recorded in vacuum.
        bands
            Bands of :func:`hyperspy_assb.reference.bands`, or their names; None: those of LAGP.
        bias
            Potential of each state in V, or another score; None: that of the axis ``bias``, or 0, 1, 2, ...
        options
            Normalisation, blocks, permutations, noise and uncertainties of the calibration.
        show_progressbar
            HyperSpy's preference by default.

        Returns
        -------
        LowLossComparison
            Table of bands, clusters, difference with its variance, and what follows.

        Raises
        ------
        ValueError
            If dispersions differ, ranges do not overlap, a state has no zero-loss peak or no spectrum, or a region does
            not fit.
        NotImplementedError
            If an energy axis is non-uniform.

        Warns
        -----
        AssbWarning
            If there are too few blocks for permutations, or thickness or resolution differ too much.

        Notes
        -----
        Cluster permutation test: E. Maris and R. Oostenveld, J. Neurosci. Methods 164, 177 (2007),
        doi:10.1016/j.jneumeth.2007.03.024. Correction for many bands: P. H. Westfall and S. S. Young, Resampling-Based
        Multiple Testing, Wiley (1993).

        Examples
        --------
        >>> from hyperspy_assb.eels.comparison.options import ComparisonOptions
        >>> from hyperspy_assb.simulation import micro_battery
        >>> battery = micro_battery(shape=(6, 6), seed=1, signal_type="EELS_ASSB")
        >>> found = battery.eels_before.compare_low_loss(battery.eels_after, options=ComparisonOptions(permutations=19))
        >>> found.states["pixels"].tolist()
        [36, 36]
        >>> found.bands["band"].tolist()[:3]
        ['carbon build-up', 'valence transitions', 'volume plasmon']
        """
        return compare_low_loss(
            self,
            after,
            region=region,
            zero_loss=zero_loss,
            bands=bands,
            bias=bias,
            options=options,
            show_progressbar=show_progressbar,
        )


class LazyASSBEELSSpectrum(ASSBEELSSpectrum, LazyEELSSpectrum):
    """EELS spectra of all-solid-state batteries that stay on disk until they are needed.

    Examples
    --------
    >>> ASSBEELSSpectrum(np.ones((2, 3, 64))).as_lazy()
    <LazyASSBEELSSpectrum, title: , dimensions: (3, 2|64)>
    """


def load_spectrum_image(
    path: str | PathLike[str],
    *,
    lazy: bool = False,
    reader: str | None = None,
    dataset: str | int | None = None,
) -> ASSBEELSSpectrum:
    """Load the EELS spectrum or spectrum image of a file.

    Parameters
    ----------
    path
        File to read, in any format that HyperSpy reads.
    lazy
        Whether the data stay on disk until they are needed.
    reader
        Name of the reader, where the file extension is ambiguous (``.hdf5``); None: by the extension.
    dataset
        Where the file holds several: the title of the one that is meant, a part of it that no other has, or its number,
        from 0 in the order of ``hs.load``.

    Returns
    -------
    ASSBEELSSpectrum
        Of the EELS signals in the file that which holds the zero-loss peak, and of several the largest; where no title
        says that it is EELS, its only one-dimensional signal.

    Raises
    ------
    AssbFileNotFoundError
        If there is no such file; it is a FileNotFoundError.
    AssbFileError
        If the file cannot be read (truncated, damaged, or of an unknown format), holds no spectrum, or only an empty
        one, or complex numbers. The message names the file; it is an OSError and a ValueError.

    Warns
    -----
    AssbWarning
        If the file holds several EELS signals, naming them and the one that was taken.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "map.hspy"
    >>> ASSBEELSSpectrum(np.ones((2, 3, 64))).save(path)
    >>> load_spectrum_image(path)
    <ASSBEELSSpectrum, title: , dimensions: (3, 2|64)>
    """
    what = ("EELS spectrum", "spectra")
    signal = load_signal(path, {"lazy": lazy}, reader, choose=eels_spectra, what=what, dataset=dataset)
    return as_type(signal, "EELS_ASSB")
