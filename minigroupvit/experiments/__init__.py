"""The paper's tables in miniature: rows as data, a runner that can be stopped anywhere, a report.

    rows          what is trained and measured: the tables
    budgets       how much may be computed; a row and a budget give the settings of a training
    models        trains a row's model, once for all rows that share it
    pretraining   Table 5: image labels, MoCo v3, DINO, masks
    measures      what is measured of a trained model
    runner        which row next, by several processes at once
    report        results/tables.md
"""
