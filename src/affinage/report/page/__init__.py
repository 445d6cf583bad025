"""The report as one HTML page that needs nothing else: no network, no font, no picture from elsewhere, no script to read it."""

from affinage.report.page.page import Content, page

__all__ = ["Content", "page"]
