"""From an event to a notification: read, checked, mapped."""

from __future__ import annotations

from pydantic import ValidationError

from workbench.integration.formats import Event, InvalidMessage, Notification, UserCreated
from workbench.integration.records import Record


class DataTransformer:
    """Maps events about users to notifications.

    A message that does not fit is refused as a whole, with the member, the kind of value that was there (never the value)
    and what was expected; the same bytes fail the same way each time, so it is dead-lettered.
    """

    def event(self, record: Record) -> Event:
        """The event in a record.

        Raises:
            InvalidMessage: it is no event, or of a version that cannot be read here.
        """
        return Event.from_wire(record.value or b"")

    def transform(self, event: Event) -> Notification:
        """The notification for an event.

        Raises:
            InvalidMessage: it does not say whom to notify.
        """
        try:
            user = UserCreated.model_validate(event.data, strict=True, by_alias=True, by_name=False)
        except ValidationError as error:
            raise InvalidMessage.of(error, f"{event.event_type} event", inside="data") from None
        return Notification(
            message_id=event.message_id,
            id=user.user_id,
            email=user.email,
            created_at=event.timestamp,
            source=(user.metadata and user.metadata.source) or "unknown",
        )
