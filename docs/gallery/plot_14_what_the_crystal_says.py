"""
What the crystal says
=====================

The loss functions of LiFePO4 and FePO4 from nothing but their crystals: FePO4 has a band between
4 and 7 eV, whatever the orientation.
"""

import matplotlib.pyplot as plt

import hyperspy_assb
from hyperspy_assb.reference import computed_materials, computed_optics

figure, axes = plt.subplots(3, 1, figsize=(7, 9), layout="constrained")
for name in ("LiFePO4", "FePO4"):
    colour = hyperspy_assb.materials[name].colour
    optics = computed_optics(name, hubbard_u=4.3)
    axes[0].plot(optics.energy, optics.mean_loss(), color=colour, label=name)
    for direction, style in enumerate(("-", "--", ":")):
        label = f"{name}, {'abc'[direction]}"
        axes[1].plot(optics.energy, optics.loss_function[direction], style, color=colour, label=label)
    for hubbard_u in computed_materials()[name]:
        other = computed_optics(name, hubbard_u=hubbard_u)
        strength = 0.25 + 0.12 * hubbard_u
        axes[2].plot(
            other.energy, other.mean_loss(), color=colour, alpha=min(strength, 1.0), label=f"{name}, U {hubbard_u:g} eV"
        )
axes[0].set(xlabel="Energy loss (eV)", title="Mean of the directions", xlim=(0, 60))
axes[1].set(xlabel="Energy loss (eV)", title="Directions", xlim=(1, 12), ylim=(0, 0.45))
axes[2].set(xlabel="Energy loss (eV)", title="U on Fe 3d", xlim=(1, 12), ylim=(0, 0.45))
for ax in axes:
    ax.set_ylabel("Im(-1/ε)")
    ax.legend(fontsize="small", frameon=False)
plt.show()

for name in ("LiFePO4", "FePO4"):
    for hubbard_u in computed_materials()[name]:
        optics = computed_optics(name, hubbard_u=hubbard_u)
        print(f"{name}, U {hubbard_u:g} eV: gap {optics.gap:.1f} eV, area from 4 to 7 eV {optics.area(4, 7).round(3)}")
