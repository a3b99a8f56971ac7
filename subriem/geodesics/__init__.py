"""Geodesics: exponential map, shortest paths, wave fronts, conjugate times, abnormals."""

from subriem.geodesics.abnormal import abnormal
from subriem.geodesics.ball import ball
from subriem.geodesics.conjugate import conjugate_time
from subriem.geodesics.connect import connect
from subriem.geodesics.cut_time import cut_time
from subriem.geodesics.distance import distance
from subriem.geodesics.exponential import exponential
from subriem.geodesics.extremal_lifts import extremal_lifts
from subriem.geodesics.flow_map import FlowMap, flow_map
from subriem.geodesics.hamiltonian import hamilton_equations, hamiltonian
from subriem.geodesics.planning import plan_motion
from subriem.geodesics.sphere import sphere
from subriem.geodesics.wavefront import unit_covectors, wavefront

__all__ = [
    "FlowMap",
    "abnormal",
    "ball",
    "conjugate_time",
    "connect",
    "cut_time",
    "distance",
    "exponential",
    "extremal_lifts",
    "flow_map",
    "hamilton_equations",
    "hamiltonian",
    "plan_motion",
    "sphere",
    "unit_covectors",
    "wavefront",
]
