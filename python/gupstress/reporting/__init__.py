"""Results as one HTML page that needs nothing else: no network, no other file.

`sources` reads what is shown, `tables`, `figures` and `story` say what stands where,
and `page` puts it into the templates, which hold all markup, style and script.
"""
