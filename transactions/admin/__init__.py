"""The ledger in the admin: to look at, and to send an e-mail again.

Money moves through commands alone.
"""

from django.contrib import admin

from transactions import models
from transactions.admin.accounts import AccountAdmin, EntryAdmin
from transactions.admin.notifications import NotificationAdmin
from transactions.admin.transactions import TransactionAdmin

for model, model_admin in (
    (models.Account, AccountAdmin),
    (models.Transaction, TransactionAdmin),
    (models.Entry, EntryAdmin),
    (models.Notification, NotificationAdmin),
):
    admin.site.register(model, model_admin)
