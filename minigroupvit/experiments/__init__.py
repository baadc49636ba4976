"""The paper's tables in miniature: rows as data, a runner that can be stopped anywhere, a report.

    rows          what is trained and measured: the tables
    models        budgets; trains a row's model, once for all rows that share it
    pretraining   Table 5: image labels, MoCo v3, DINO, masks
    measures      what is measured of a trained model
    runner        which row is next, shared by several processes
    report        results/tables.md
"""
