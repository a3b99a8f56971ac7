"""Results: the shape of a dataset, where it comes from, and NetCDF in and out."""

from subriem.results.flag_maps import draw_flag_maps as draw_flag_maps
from subriem.results.flag_maps import plot_flag_map as plot_flag_map
from subriem.results.law_drift import draw_law_drift as draw_law_drift
from subriem.results.law_drift import plot_law_counts as plot_law_counts
from subriem.results.law_drift import plot_law_drift as plot_law_drift
from subriem.results.netcdf import open_results as open_results
from subriem.results.netcdf import save as save
from subriem.results.orbits import draw_orbits as draw_orbits
from subriem.results.orbits import finished_orbits as finished_orbits
from subriem.results.orbits import print_orbits as print_orbits
from subriem.results.plots import plot_loss as plot_loss
from subriem.results.plots import plot_outputs as plot_outputs
from subriem.results.plots import plot_spectrum as plot_spectrum
from subriem.results.provenance import library_version as library_version
from subriem.results.provenance import provenance as provenance
from subriem.results.ragged import combine_tasks as combine_tasks
from subriem.results.ragged import find_conflicts as find_conflicts
from subriem.results.ragged import select_task as select_task
from subriem.results.schema import DIMENSIONS as DIMENSIONS
from subriem.results.schema import build_dataset as build_dataset
from subriem.results.schema import validate as validate
from subriem.results.summary import print_failures as print_failures
from subriem.results.summary import print_summary as print_summary
from subriem.results.wave_fronts import draw_wavefronts as draw_wavefronts
from subriem.results.wave_fronts import plot_wavefront as plot_wavefront
