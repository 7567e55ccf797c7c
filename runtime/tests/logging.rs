//! What plugins log, by level. In a process of its own, since the level is the process'.

use tracing::{Dispatch, Event, Level, Metadata, field::Field, level_filters::LevelFilter, span};

use extism::Plugin;

/// The plugin `log.wat`, which logs a letter at each level.
const LOG: &str = include_str!("../../tests/plugins/log.wat");

/// Keeps the messages of plugins, down to a level.
struct Collector {
    level: LevelFilter,
    messages: std::sync::Arc<std::sync::Mutex<Vec<(Level, String)>>>,
}

impl tracing::Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "extism::pdk" && *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn event(&self, event: &Event<'_>) {
        let level = *event.metadata().level();
        let mut visitor = |field: &Field, value: &dyn std::fmt::Debug| {
            if field.name() == "message" {
                self.messages
                    .lock()
                    .unwrap()
                    .push((level, format!("{value:?}")));
            }
        };
        event.record(&mut visitor);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[test]
fn messages_are_filtered_by_level_and_always_freed() {
    let all = [
        (Level::TRACE, "t"),
        (Level::DEBUG, "d"),
        (Level::INFO, "i"),
        (Level::WARN, "w"),
        (Level::ERROR, "e"),
    ];
    for (level, number) in [
        (LevelFilter::TRACE, "0"),
        (LevelFilter::DEBUG, "1"),
        (LevelFilter::INFO, "2"),
        (LevelFilter::WARN, "3"),
        (LevelFilter::ERROR, "4"),
    ] {
        let messages = std::sync::Arc::default();
        let collector = Collector {
            level,
            messages: std::sync::Arc::clone(&messages),
        };
        tracing::dispatcher::with_default(&Dispatch::new(collector), || {
            let mut plugin = Plugin::new(LOG, [], false).unwrap();
            // What it outputs is how many of its messages were not freed.
            assert_eq!(
                plugin.call::<_, String>("log_each_level", "").unwrap(),
                "0",
                "{level}"
            );
            assert_eq!(
                plugin.call::<_, String>("level", "").unwrap(),
                number,
                "{level}"
            );
            let expected = all.iter().filter(|(of, _)| *of <= level);
            let expected: Vec<_> = expected
                .map(|(of, text)| (*of, (*text).to_owned()))
                .collect();
            assert_eq!(*messages.lock().unwrap(), expected, "{level}");
        });
    }
    let mut plugin = Plugin::new(LOG, [], false).unwrap();
    assert_eq!(
        plugin.call::<_, String>("log_each_level", "").unwrap(),
        "0",
        "off"
    );
}
