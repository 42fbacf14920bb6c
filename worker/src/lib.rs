//! The document worker: one process, one Temporal client, three task queues.
//!
//! A document's way: [`workflows`] names the steps, [`activities`] carries them out with [`store`] (S3, Postgres) and [`text`]
//! (HTML, Markdown, plain text, PDF) on the threads of [`cpu`]; [`wire`] is what travels between them. Around it: [`config`],
//! [`temporal`] (the connection and the three workers), [`depth`] and [`metrics`], [`health`], and [`lifecycle`], which starts
//! all of it and stops it in order. It knows nothing of Kubernetes.

pub mod activities;
pub mod config;
pub mod cpu;
pub mod depth;
pub mod health;
pub mod lifecycle;
pub mod logs;
pub mod metrics;
pub mod signals;
pub mod store;
pub mod temporal;
pub mod text;
pub mod tls;
pub mod wire;
pub mod workflows;
