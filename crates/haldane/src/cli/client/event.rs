//! Server-sent events: a stream of bytes, cut into events.

/// The largest event; a service with hundreds of steps stays far below. More means that the other side is no daemon of ours.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// The kind.
    pub name: String,
    /// The data, lines joined.
    pub data: String,
}

/// An event that does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {EVENT_BYTES_MAX} bytes")]
pub(super) struct TooLong;

/// Reads events from pieces that are cut anywhere.
#[derive(Debug, Default)]
pub(super) struct EventParser {
    line: Vec<u8>,
    event: Event,
}

impl EventParser {
    /// Takes the next piece, and returns the events that are whole with it.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut whole = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.len().saturating_add(self.event.data.len()) > EVENT_BYTES_MAX {
                return Err(TooLong);
            }
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                whole.extend(self.end_line(&line));
            }
        }
        Ok(whole)
    }

    fn end_line(&mut self, line: &[u8]) -> Option<Event> {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return (!event.data.is_empty()).then_some(event);
        }
        // A line that begins with a colon is a comment: its field has no name.
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = ": keep-alive\n\nevent: service\r\ndata: {\"a\":\ndata: 1}\r\nid: 7\n\nevent: other\ndata:x\n\n\n";

    #[test]
    fn events_are_the_same_wherever_the_stream_is_cut() {
        let event = |name: &str, data: &str| Event {
            name: name.to_owned(),
            data: data.to_owned(),
        };
        let expected = vec![event("service", "{\"a\":\n1}"), event("other", "x")];
        for size in 1..TEXT.len() {
            let mut parser = EventParser::default();
            let pieces = TEXT.as_bytes().chunks(size);
            let events: Vec<_> = pieces
                .flat_map(|piece| parser.push(piece).unwrap())
                .collect();
            assert_eq!(events, expected, "{size}");
        }
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut parser = EventParser::default();
        let piece = vec![b'x'; 1 << 20];
        let refused = (0..5).any(|_| parser.push(&piece) == Err(TooLong));
        assert!(refused);
    }
}
