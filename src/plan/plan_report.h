/* A plan as a page to look at. */
#ifndef QDQ_PLAN_PLAN_REPORT_H
#define QDQ_PLAN_PLAN_REPORT_H

#include "plan/plan_file.h"

/* Writes the plan's report (report.h). QDQ_BAD_DATA: the plan has no tensor with a choice. */
qdq_status qdq_plan_report(const qdq_plan *plan, const char *output);

#endif
