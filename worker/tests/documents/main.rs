//! Documents as they come, through the worker's own front door: each is read, or refused for good with the kind that names its
//! cause. ReportLab, fpdf2 and pypdf wrote the PDFs in `files` (the font in them is Bitstream Vera, which may be embedded and
//! passed on); what is hostile is built when it is needed.

mod hostile;
mod pdf;
mod real;
mod support;
