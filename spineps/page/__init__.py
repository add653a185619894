"""Pages to look at results with: one HTML file a scan, an index a cohort; offline, nothing fetched from anywhere."""
