//! What an operator sees: probes, metrics, log lines, and what a service
//! manager is told.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::support::{Client, Node, NodeOptions, Registry, Request, Response, wait_for};

/// News reaches the log and the service manager within this time.
const NEWS_MAX: Duration = Duration::from_secs(10);

fn ask(node: &Node, path: &str) -> Response {
    Client::new(node.admin_address).send(&Request::new("GET", path))
}

#[test]
fn probes_and_metrics_answer_on_their_own_listener_only() {
    let node = Node::start();
    for path in ["/livez", "/readyz", "/startupz"] {
        ask(&node, path).expect(200);
    }
    let metrics = ask(&node, "/metrics").expect(200);
    assert!(metrics.only("Content-Type").contains("text"), "{metrics:?}");
    ask(&node, "/v2/").expect(404);
    ask(&node, "/").expect_any(&[200, 404]);
    let mut registry = Registry::new(node.address);
    for path in ["/metrics", "/livez", "/readyz", "/startupz"] {
        registry.get(path).expect(404);
    }
}

#[test]
fn metrics_count_what_happened() {
    let node = Node::start();
    let mut registry = Registry::new(node.address);
    let before = requests_counted(&node);
    for number in 0..5 {
        registry.push_image("metrics/image", "v1", number);
    }
    let counted = wait_for(NEWS_MAX, || requests_counted(&node) >= before + 15.0);
    assert!(counted, "{before} then {}", requests_counted(&node));
}

/// The sum of all request counters, whatever their labels.
fn requests_counted(node: &Node) -> f64 {
    let text = ask(node, "/metrics").expect(200).body;
    let text = String::from_utf8(text).unwrap();
    let lines = text
        .lines()
        .filter(|line| line.starts_with("windlass_http_requests_total"));
    lines
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

#[test]
fn the_first_start_says_how_to_push() {
    let node = Node::start();
    let address = node.address.to_string();
    let says = wait_for(NEWS_MAX, || {
        let log = node.log_text();
        log.contains("push") && log.contains(&address)
    });
    assert!(says, "{}", node.log_text());
}

#[test]
fn log_lines_are_json_and_hostile_input_stays_on_its_line() {
    let node = Node::start();
    let mut client = Client::new(node.address);
    let mark = "mark-0815";
    let request = Request::new("GET", "/v2/%0a%1b[31mred/manifests/%0d%0a\u{e9}")
        .header("X-Request-Id", mark)
        .header("User-Agent", "evil\u{1b}]0;title\u{7}\"}{");
    // A header with control bytes is refused before it has a request id.
    drop(client.try_send(&request));
    let request = Request::new("GET", "/v2/%0a%1b[31mred/manifests/%0d%0a")
        .header("X-Request-Id", mark)
        .header("User-Agent", "quote\"}{\\ and ünïcode")
        .header("Authorization", "Bearer super-secret-token");
    client.try_send(&request).unwrap().expect_any(&[400, 404]);
    let is_logged = wait_for(NEWS_MAX, || node.log_text().contains(mark));
    let log = node.log_text();
    assert!(is_logged, "no line for the request:\n{log}");
    assert!(!log.contains("super-secret-token"), "{log}");
    let all = log.lines().filter(|line| !line.is_empty());
    for line in all.filter(|line| line.contains(mark) || line.starts_with('{')) {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok_and(|value| value.is_object()), "{line}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

#[test]
fn a_service_manager_hears_ready_alive_and_stopping() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(NEWS_MAX)).unwrap();
    let path = path.to_str().unwrap().to_owned();
    let mut node = Node::start_with(NodeOptions {
        environment: vec![
            ("NOTIFY_SOCKET".to_owned(), path),
            ("WATCHDOG_USEC".to_owned(), "400000".to_owned()),
        ],
        ..NodeOptions::default()
    });
    let mut heard = String::new();
    let mut hear_until = |wanted: &str| {
        let mut message = [0; 1024];
        while !heard.contains(wanted) {
            let count = socket.recv(&mut message).unwrap_or_else(|error| {
                panic!("no {wanted}: {error}; heard {heard:?}");
            });
            heard.push_str(&String::from_utf8_lossy(&message[..count]));
            heard.push('\n');
        }
    };
    hear_until("READY=1");
    hear_until("WATCHDOG=1");
    node.signal_end();
    hear_until("STOPPING=1");
    assert_eq!(node.wait_end(NEWS_MAX).code(), Some(0));
}
