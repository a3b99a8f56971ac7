"""The report of a result: one page that shows it in a browser, without a network."""

from subriem.results.report.page import write_report as write_report
