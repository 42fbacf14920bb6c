//! A fake OpenTelemetry collector: accepts spans over gRPC and keeps them.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    resource::v1::Resource,
};
use temporalio_client::tonic::{self, Request, Response, Status, transport::Server};
use tokio::task::JoinSet;

use super::ports;

/// The fake collector. Dropping it closes its port.
#[derive(Debug)]
pub(crate) struct Collector {
    /// Value for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub(crate) endpoint: String,
    /// Its port.
    pub(crate) port: u16,
    received: Received,
    _server: JoinSet<()>,
}

/// A received span, with its ids in hex.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
}

#[derive(Debug, Clone, Default)]
struct Received(Arc<Mutex<Vec<Span>>>);

impl Collector {
    /// Starts the collector.
    pub(crate) fn start() -> Result<Self> {
        let address: SocketAddr = ([127, 0, 0, 1], ports::free()).into();
        let received = Received::default();
        let service = TraceServiceServer::new(received.clone());
        let mut server = JoinSet::new();
        server.spawn(async move {
            let served = Server::builder().serve(address, service).await;
            if let Err(error) = served {
                eprintln!("the collector at {address} does not serve: {error}");
            }
        });
        Ok(Self { endpoint: format!("http://{address}"), port: address.port(), received, _server: server })
    }

    /// The spans so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.received.lock().clone()
    }
}

impl Received {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Span>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_resource in request.into_inner().resource_spans {
            let service = service_name(of_resource.resource.as_ref());
            let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.lock().extend(spans.map(|span| Span {
                service: service.clone(),
                name: span.name,
                trace: hex::encode(span.trace_id),
                id: hex::encode(span.span_id),
                parent: hex::encode(span.parent_span_id),
            }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn service_name(resource: Option<&Resource>) -> String {
    let attributes = resource.map(|resource| resource.attributes.as_slice()).unwrap_or_default();
    let name = attributes.iter().find(|attribute| attribute.key == "service.name");
    match name.and_then(|attribute| attribute.value.clone()?.value) {
        Some(Value::StringValue(name)) => name,
        other => format!("not named: {other:?}"),
    }
}
