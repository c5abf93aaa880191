/* Revisions of the stages: raise one when the numbers of its stage change. tests/study/test_golden.py holds figures of each, and fails when
 * they change while the revision does not. */
#ifndef SL_STUDY_REVISIONS_H
#define SL_STUDY_REVISIONS_H

enum { REV_LM = 2, REV_ACTS = 1, REV_TASK = 3, REV_SAE = 7, REV_BASELINE = 1, REV_EVAL = 4, REV_AGREEMENT = 2, REV_COMPOSITION = 1 };

#endif
