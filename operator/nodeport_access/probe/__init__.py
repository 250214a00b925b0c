"""Dials a Service's node ports, and holds each answer against what the evaluator predicts for the source.

``planning`` makes a plan (``plans``) of a scene, ``plan_file`` carries it to other machines; ``dialling`` and
``pacing`` dial; ``judging`` and ``findings`` say what the answers (``attempts``) mean, ``records`` keeps them. Not its
business: the prediction (``evaluate``), and the command line.
"""
