"""The page: scores, controls, tracks and what they mean, in files that any browser opens without a network."""

from sae_tracks.report.page import TITLE, Page, choose_tracks, make_page, view_site, write_report
from sae_tracks.report.serve import serve
from sae_tracks.report.tracks import open_tracks

__all__ = ["TITLE", "Page", "choose_tracks", "make_page", "open_tracks", "serve", "view_site", "write_report"]
