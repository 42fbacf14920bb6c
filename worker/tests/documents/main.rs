//! Documents as users upload them, passed through the worker's public functions. Each is read, or refused with the
//! kind of its cause. ReportLab, fpdf2, pypdf and qpdf wrote the PDFs in `files`. Their font is Bitstream Vera, whose
//! licence allows embedding and redistribution. Hostile files are built by the tests.

mod annotations;
mod composite;
mod encrypted;
mod fonts;
mod hostile;
mod pdf;
mod real;
mod support;
