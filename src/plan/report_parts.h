/* What the parts of the report share. */
#ifndef QDQ_PLAN_REPORT_PARTS_H
#define QDQ_PLAN_REPORT_PARTS_H

#include "plan/report.h"

/* Escaped; what is no UTF-8, or not allowed in XML, replaced. */
void qdq_report_text(qdq_builder *out, const char *text);
/* "1.5 GiB" */
void qdq_report_bytes(qdq_builder *out, double bytes);

uint64_t qdq_report_elements(const qdq_report_tensor *tensor);
const qdq_report_choice *qdq_report_chosen(const qdq_report_tensor *tensor);
double qdq_report_bits(const qdq_report_tensor *tensor, const qdq_report_choice *choice); /* a weight */
/* Damage that the smallest choice would do, per million weights. */
double qdq_report_sensitivity(const qdq_report_tensor *tensor);

typedef struct qdq_report_totals {
    double bytes, elements, damage;
    double cost;                              /* what the budget bounds */
    double low_bits, high_bits;               /* of the chosen formats */
    double low_sensitivity, high_sensitivity; /* of those that are not 0 */
} qdq_report_totals;

qdq_report_totals qdq_report_sum(const qdq_report *report);
void qdq_report_widen(double x, double *low, double *high);

void qdq_report_chart(qdq_builder *out, const qdq_report *report, const qdq_report_totals *totals);
/* The formats in use; chosen formats and sensitivities, layers x kinds. */
qdq_status qdq_report_maps(qdq_builder *out, const qdq_report *report, const qdq_report_totals *totals);

#endif
