"""Two runs held against each other: did what was changed between them make it worse?"""
