/* A plan as a page to look at. */
#ifndef QDQ_PLAN_PLAN_REPORT_H
#define QDQ_PLAN_PLAN_REPORT_H

#include "plan/plan_file.h"

/* Writes the report (report.h) of the plan that was read from that path. QDQ_BAD_DATA: the plan has no tensor with a
 * choice, or figures that no plan has. */
qdq_status qdq_plan_report(const qdq_plan *plan, const char *path, const char *output);

#endif
