//! Ranks of a group as processes of their own, and the test that orders them about.
//!
//! Each takes orders on its stdin and answers on its stdout, one JSON value a line; it ends when its orders
//! do. Nothing is waited for without an end.

mod order;
mod process;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use hcrun_net::identity::{Authority, IdentityPem, PeerName, ThrowAwayAuthority, ZoneRoots};
use hcrun_protocol::{Generation, JobId, Rank, SlotId, ZoneId};

pub use order::{Answer, Order, Seat};
pub use process::main;

use crate::processes::{Process, signal};

/// A process that is a rank of whatever groups it is told to form. Dropped it is killed.
pub struct RankProcess {
    child: Child,
    orders: ChildStdin,
    /// When each answer was read.
    answers: Receiver<(Instant, Answer)>,
    seat: Seat,
}

/// Longer than any answer takes on a loaded machine.
const LIMIT: Duration = Duration::from_secs(30);

impl RankProcess {
    /// Starts `count` of them, of one zone, and waits until their lanes are bound.
    pub fn start(program: &str, count: usize, silence: Duration) -> Vec<RankProcess> {
        let zone = ZoneId::new("here").unwrap();
        let authority = ThrowAwayAuthority::new(zone, JobId(11)).unwrap();
        let roots = ZoneRoots::of([&authority as &dyn Authority]).unwrap();
        let start = |place: usize| {
            let slot = SlotId::parse(&format!("here-{place}")).unwrap();
            let identity = IdentityPem::issue(&authority, &PeerName::Slot(slot.clone()), &roots).unwrap();
            RankProcess::spawn(program, Order::Bind { identity, silence }, slot)
        };
        let mut ranks: Vec<RankProcess> = (0..count).map(start).collect();
        for rank in &mut ranks {
            let (_, Answer::Bound { lanes }) = rank.hear() else { panic!("it binds first") };
            rank.seat.lanes = lanes;
        }
        ranks
    }

    fn spawn(program: &str, bind: Order, slot: SlotId) -> RankProcess {
        let mut command = Command::new(program);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (orders, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (answer, answers) = channel();
        // Ends with the process.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // One that is killed may leave half a line.
                let Ok(parsed) = serde_json::from_str(&line) else { break };
                if answer.send((Instant::now(), parsed)).is_err() {
                    break;
                }
            }
        });
        let mut rank = RankProcess { child, orders, answers, seat: Seat { slot, lanes: Vec::new() } };
        rank.say(&bind);
        rank
    }

    /// Tells all of them to form a group in this order, and to all-reduce so many elements, so often.
    pub fn form(all: &mut [RankProcess], generation: Generation, elems: usize, rounds: Option<u64>) {
        let seats: Vec<Seat> = all.iter().map(|rank| rank.seat.clone()).collect();
        for (index, rank) in all.iter_mut().enumerate() {
            let (me, seats) = (Rank::from_index(index), seats.clone());
            rank.say(&Order::Form { generation, me, seats, elems, rounds });
        }
    }

    fn say(&mut self, order: &Order) {
        writeln!(self.orders, "{}", serde_json::to_string(order).unwrap()).unwrap();
    }

    /// The next answer, and when it came.
    #[track_caller]
    pub fn hear(&mut self) -> (Instant, Answer) {
        self.answers.recv_timeout(LIMIT).unwrap_or_else(|error| panic!("{}: {error}", self.seat.slot))
    }

    pub fn signal(&self, what: rustix::process::Signal) {
        signal(Process::new(self.child.id()), what);
    }
}

impl Drop for RankProcess {
    fn drop(&mut self) {
        // One that has ended already needs nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
