"""Services: long-running or generated faces over the library. Headless notebooks are in ``services.runs``."""
