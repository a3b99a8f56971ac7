"""Studies: a grid of parameters and a task make one dataset, on any number of processes."""

from subriem.study.definition import Study as Study
from subriem.study.loading import load_study as load_study
