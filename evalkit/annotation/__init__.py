"""Human feedback: studies of stored responses, journals of answers, agreement, and training data.

    runs -> draw -> study (a folder of files) -> journals, one per annotator -> agreement, adjudication -> exports

The core knows no browser: the dashboard's page Annotate calls `submit`, as a script does.
"""
