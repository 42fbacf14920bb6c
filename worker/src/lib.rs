//! The document worker: one process, one Temporal client, three task queues.
//!
//! A document's way: [`workflows`] names the steps, [`activities`] carries them out with [`store`] (S3, Postgres) and [`text`]
//! (HTML, Markdown, plain text, PDF) on the threads of [`cpu`], and [`summary`] where one is wanted; [`wire`] is what travels
//! between them, [`external`] guards every call to S3, Redis and the LLM. Around it: [`config`], [`temporal`] (the connection
//! and the three workers), [`depth`] and [`metrics`], [`health`], [`logs`] and [`traces`], and [`lifecycle`], which starts
//! all of it and stops it in order, or starts only what shows the queues' depths. Of Kubernetes only that process knows, and it no
//! more than [`deletion_cost`].

pub mod activities;
pub mod config;
pub mod cpu;
pub mod deletion_cost;
pub mod depth;
pub mod external;
mod faults;
pub mod health;
pub mod lifecycle;
pub mod logs;
pub mod metrics;
#[cfg(test)]
mod reference;
pub mod signals;
pub mod store;
pub mod summary;
pub mod temporal;
pub mod text;
pub mod tls;
pub mod traces;
pub mod wire;
pub mod workflows;
