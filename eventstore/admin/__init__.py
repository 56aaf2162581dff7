"""The audit browser: the log, the lanes that follow it, and what was answered.

`eventstore.admin.readonly` and `eventstore.admin.render` serve other packages' admins too.
"""

from django.contrib import admin

from eventstore import models
from eventstore.admin.events import EventAdmin
from eventstore.admin.lanes import CheckpointAdmin
from eventstore.admin.parked import ParkedEventAdmin
from eventstore.admin.records import IdempotencyRecordAdmin, SnapshotAdmin

for model, model_admin in (
    (models.Event, EventAdmin),
    (models.Checkpoint, CheckpointAdmin),
    (models.ParkedEvent, ParkedEventAdmin),
    (models.Snapshot, SnapshotAdmin),
    (models.IdempotencyRecord, IdempotencyRecordAdmin),
):
    admin.site.register(model, model_admin)
