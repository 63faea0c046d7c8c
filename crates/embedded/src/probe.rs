//! Does a server answer, in its own protocol? An open port alone says too little: Postgres accepts
//! connections while it still recovers, and a stopped process keeps its listening socket.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

const CONNECT_WITHIN: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Succeeds if a PostgreSQL server accepts sessions, as `pg_isready` sees it: a refusal of this
/// user or database counts as an answer, "starting up" and "shutting down" do not.
///
/// # Errors
/// Why it does not.
pub fn postgres(address: SocketAddr) -> io::Result<()> {
    const CANNOT_CONNECT_NOW: &[u8] = b"57P03";
    const PARAMETERS: &[u8] = b"user\0postgres\0database\0postgres\0\0";
    let length = u32::try_from(8 + PARAMETERS.len()).expect("a short constant");
    let protocol_3_0 = 196_608_u32;
    let startup = [&length.to_be_bytes()[..], &protocol_3_0.to_be_bytes(), PARAMETERS].concat();

    let reply = ask(address, &startup)?;
    let refused_for_now = reply.windows(5).any(|code| code == CANNOT_CONNECT_NOW);
    match reply.first() {
        Some(b'R') => Ok(()),
        Some(b'E') if !refused_for_now => Ok(()),
        Some(b'E') => Err(not_ready("PostgreSQL is starting up or shutting down")),
        _ => Err(not_ready("the answer is not PostgreSQL's")),
    }
}

/// Succeeds if a Redis server serves commands without a password.
///
/// # Errors
/// Why it does not; the server's own words if it answered.
pub fn redis(address: SocketAddr) -> io::Result<()> {
    let reply = ask(address, b"PING\r\n")?;
    if reply.starts_with(b"+PONG") {
        return Ok(());
    }
    Err(not_ready(String::from_utf8_lossy(&reply).trim_end()))
}

/// Succeeds if a RabbitMQ server (or another AMQP 0-9-1 broker) greets.
///
/// # Errors
/// Why it does not.
pub fn rabbitmq(address: SocketAddr) -> io::Result<()> {
    const METHOD_FRAME_ON_CHANNEL_0: &[u8] = &[1, 0, 0];
    let reply = ask(address, b"AMQP\x00\x00\x09\x01")?;
    if reply.starts_with(METHOD_FRAME_ON_CHANNEL_0) {
        return Ok(());
    }
    Err(not_ready("the answer is not an AMQP 0-9-1 greeting"))
}

/// Sends `question` on a new connection and returns the beginning of the answer.
fn ask(address: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(question)?;
    let mut answer = vec![0; 1024];
    let length = stream.read(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

fn not_ready(why: &str) -> io::Error {
    io::Error::other(why.to_owned())
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// A server that answers the first connection with `reply`.
    fn replying(reply: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 128];
            assert!(stream.read(&mut question).unwrap() > 0);
            stream.write_all(reply).unwrap();
        });
        address
    }

    #[test]
    fn postgres_that_starts_up_is_not_ready_and_one_that_refuses_us_is() {
        let starting = b"E\0\0\0\x2aSFATAL\0VFATAL\0C57P03\0Mstarting\0\0";
        let refusing = b"E\0\0\0\x2aSFATAL\0VFATAL\0C28000\0Mno such role\0\0";
        let trusting = b"R\0\0\0\x08\0\0\0\0";
        assert!(postgres(replying(starting)).is_err());
        assert!(postgres(replying(refusing)).is_ok());
        assert!(postgres(replying(trusting)).is_ok());
        assert!(postgres(replying(b"-ERR unknown command\r\n")).is_err());
    }

    #[test]
    fn redis_that_loads_or_wants_a_password_is_not_ready() {
        assert!(redis(replying(b"+PONG\r\n")).is_ok());
        let loading = redis(replying(b"-LOADING Redis is loading the dataset in memory\r\n"));
        assert_eq!(
            loading.unwrap_err().to_string(),
            "-LOADING Redis is loading the dataset in memory"
        );
        assert!(redis(replying(b"-NOAUTH Authentication required.\r\n")).is_err());
    }

    #[test]
    fn an_amqp_greeting_is_told_from_a_version_refusal() {
        assert!(rabbitmq(replying(&[1, 0, 0, 0, 0, 1, 226])).is_ok());
        assert!(rabbitmq(replying(b"AMQP\x00\x01\x00\x00")).is_err());
    }

    #[test]
    fn nobody_there_is_an_error() {
        let address = SocketAddr::from(([127, 0, 0, 1], crate::port::free().unwrap()));
        assert_eq!(redis(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
